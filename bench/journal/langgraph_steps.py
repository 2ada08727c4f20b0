"""Steps a second of LangGraph with its SQLite saver: a graph of one node that is run again and again.

A chain of as many nodes is slower: each checkpoint names every node that has run.
"""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import aiosqlite
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from common import RESULT, arguments, say, sqlite_path

args = arguments()
path = sqlite_path(args.url)
DURABLE = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
NAMES = ("journal_mode", "synchronous")


class State(TypedDict):
    number: int
    result: dict


def step(state: State) -> State:
    return {"number": state["number"] + 1, "result": RESULT}


async def step_async(state: State) -> State:
    return step(state)


def graph(node, steps: int, saver):
    builder = StateGraph(State)
    builder.add_node("step", node)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["number"] < steps else END)
    return builder.compile(checkpointer=saver)


def how(thread: str, steps: int) -> dict:
    return {"configurable": {"thread_id": thread}, "recursion_limit": steps + 5}


def run(saver, name: str, at_once: int, steps: int) -> None:
    runnable = graph(step, steps, saver)

    def one(number: int) -> int:
        config = how(f"{name}-{number}", steps)
        return runnable.invoke({"number": 0}, config, durability="sync")["number"]

    if at_once == 1:
        done = [one(0)]
    else:
        with ThreadPoolExecutor(at_once) as threads:
            done = list(threads.map(one, range(at_once)))
    assert done == [steps] * at_once, done


async def run_async(saver, name: str, at_once: int, steps: int) -> None:
    runnable = graph(step_async, steps, saver)
    runs = (
        runnable.ainvoke({"number": 0}, how(f"{name}-{number}", steps), durability="sync") for number in range(at_once)
    )
    done = [state["number"] for state in await asyncio.gather(*runs)]
    assert done == [steps] * at_once, done


async def main_async() -> None:
    async with aiosqlite.connect(path) as connection:
        await connection.executescript(DURABLE)
        saver = AsyncSqliteSaver(connection)
        await run_async(saver, "warm", args.at_once, 2)
        began = time.perf_counter()
        await run_async(saver, "run", args.at_once, args.steps)
        seconds = time.perf_counter() - began
        settings = {}
        for name in NAMES:
            async with connection.execute("PRAGMA " + name) as answer:
                settings[name] = (await answer.fetchone())[0]
        say("LangGraph SQLite saver", args, seconds, settings)


def main() -> None:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.executescript(DURABLE)
    saver = SqliteSaver(connection)
    run(saver, "warm", args.at_once, 2)
    began = time.perf_counter()
    run(saver, "run", args.at_once, args.steps)
    seconds = time.perf_counter() - began
    settings = {name: connection.execute("PRAGMA " + name).fetchone()[0] for name in NAMES}
    say("LangGraph SQLite saver", args, seconds, settings)


if args.mode == "async":
    asyncio.run(main_async())
else:
    main()
