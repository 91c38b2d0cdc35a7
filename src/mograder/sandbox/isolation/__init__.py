"""What a sandbox is (policy, system calls, mounts) and how bubblewrap is started with it."""
