"""Bad input ends these programs with one line and exit code 2."""
import argparse
import sys

# The modules that need more are imported after this one.
if sys.version_info < (3, 11):
    print(f"Python is {sys.version.split()[0]}; experiments need 3.11 or newer, which reads TOML", file=sys.stderr)
    sys.exit(2)


class Refusal(Exception):
    """The message names the thing, its value, and what would be right."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def at_least_one(text):
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"'{text}' should be a whole number, at least 1")
    return int(text)


def fraction(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' should be a number from 0 to below 1")
    return value
