"""``python -m audit`` is ``auditlog``."""

from audit.cli import main

if __name__ == "__main__":
    main()
