"""A Kubernetes on one machine: real components, each node in namespaces of its own, no container engine.

`settings` names things, `pki` makes certificates, `node` makes and ends nodes, `control` starts components on them,
`images` writes and loads images, `cli` is the command.
"""
