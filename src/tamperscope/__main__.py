"""Let `python -m tamperscope` be the command line."""

from tamperscope.cli import main

if __name__ == "__main__":
    main()
