"""Benchmarks of what a user pays: requests, bytes, time, memory, state. Each module prints a Markdown table and runs alone:

python -m bench.requests [--size small|large]
"""
