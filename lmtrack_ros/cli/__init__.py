"""The ``lmtrack`` command, one file per verb.

A verb's module offers configure(parser) and run(arguments) → exit code; its help line stands in main.
"""
