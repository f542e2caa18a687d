"""Run the `loadgate` command with `python -m loadgate`."""

from loadgate.cli.main import main

if __name__ == "__main__":
    main()
