"""``python -m keepserve`` is the ``keepserve`` command."""

from keepserve.cli import main

if __name__ == "__main__":
    main(prog_name="keepserve")
