"""What the benchmarks' command lines share."""
import argparse


def comma_list(*allowed):
    def parse(text):
        values = [v for v in text.split(",") if v]
        for value in values:
            if value not in allowed:
                raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(allowed)}")
        return values
    return parse
