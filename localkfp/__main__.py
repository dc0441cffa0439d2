"""`python -m localkfp` is the `localkfp` command."""

from localkfp.cli import main

main()
