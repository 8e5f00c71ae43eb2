"""``python -m mqar_bench`` is ``mqar-bench``."""

from mqar_bench.cli import main

if __name__ == "__main__":
    main()
