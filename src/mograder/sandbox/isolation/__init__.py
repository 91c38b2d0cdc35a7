"""The definition of a sandbox (policy, system calls, mounts) and the start of bubblewrap."""
