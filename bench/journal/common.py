"""What both peers share: the arguments, the result of a step, the line of figures."""

import argparse
import json
import os

# 200 bytes as JSON, as ours returns from each step.
RESULT = {"text": "x" * 188}
assert len(json.dumps(RESULT)) == 200


def arguments() -> argparse.Namespace:
    args = argparse.ArgumentParser()
    args.add_argument("url", help="sqlite:///PATH of a file that does not exist yet, or postgresql://…")
    args.add_argument("--at-once", type=int, default=1, help="workflows at once")
    args.add_argument("--steps", type=int, default=300, help="steps of each workflow")
    args.add_argument("--mode", default="", help="how the peer runs workflows at once")
    args.add_argument("--pool", type=int, default=0, help="connections of the peer; 0 leaves its default")
    return args.parse_args()


def sqlite_path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def say(name: str, args: argparse.Namespace, seconds: float, settings: dict) -> None:
    steps = args.steps * args.at_once
    line = {
        "name": name,
        "engine": args.url.partition(":")[0],
        "at_once": args.at_once,
        "steps": steps,
        "seconds": round(seconds, 3),
        "per_second": round(steps / seconds, 1),
        "settings": settings,
    }
    print(json.dumps(line), flush=True)
    # Threads of the peer's own must not hold the process open.
    os._exit(0)
