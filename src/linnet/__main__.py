"""``python -m linnet`` is ``linnet``."""

from linnet.cli import main

if __name__ == "__main__":
    main()
