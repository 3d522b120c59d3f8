"""What the benchmarks' command lines share."""
import argparse


class Parser(argparse.ArgumentParser):
    """Answers bad input with one line and exit code 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def comma_list(*allowed):
    def parse(text):
        values = [v for v in text.split(",") if v]
        for value in values:
            if value not in allowed:
                raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(allowed)}")
        if not values:
            raise argparse.ArgumentTypeError(f"none given; there are {', '.join(allowed)}")
        return values
    return parse


def at_least_one(text):
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"'{text}' should be a whole number, at least 1")
    return int(text)


def above_zero(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' should be a number above 0")
    return value
