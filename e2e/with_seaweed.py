"""Runs a command while a SeaweedFS serves, and ends with its exit code.

    python e2e/with_seaweed.py cargo test --workspace

Tests that need a real S3 service find it in VDT_TEST_S3, VDT_TEST_S3_KEY and VDT_TEST_S3_SECRET.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lib.seaweed import SeaweedFS


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="vdt-seaweed-") as folder:
        seaweed = SeaweedFS(Path(folder)).start()
        try:
            where = {
                "VDT_TEST_S3": seaweed.endpoint,
                "VDT_TEST_S3_KEY": seaweed.access_key,
                "VDT_TEST_S3_SECRET": seaweed.secret_key,
            }
            return subprocess.run(command, env=os.environ | where, check=False).returncode
        finally:
            seaweed.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
