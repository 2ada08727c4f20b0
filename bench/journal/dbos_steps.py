"""Steps a second of DBOS Transact."""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig

from common import RESULT, arguments, say, sqlite_path

args = arguments()
sqlite = args.url.startswith("sqlite")
if sqlite:
    # The mode stays with the file; by itself DBOS leaves SQLite in its slower rollback mode.
    with sqlite3.connect(sqlite_path(args.url)) as file:
        file.execute("PRAGMA journal_mode=WAL")

config: DBOSConfig = {
    "name": "bench",
    "system_database_url": args.url,
    "log_level": "ERROR",
    "max_executor_threads": max(64, args.at_once),
}
if args.pool:
    config["sys_db_pool_size"] = args.pool
dbos = DBOS(config=config)


@DBOS.step()
def step(number: int) -> dict:
    return RESULT


@DBOS.workflow()
def work(steps: int) -> int:
    return sum(len(step(number)) for number in range(steps))


@DBOS.step()
async def step_async(number: int) -> dict:
    return RESULT


@DBOS.workflow()
async def work_async(steps: int) -> int:
    return sum([len(await step_async(number)) for number in range(steps)])


def run(at_once: int, steps: int) -> None:
    if args.mode == "async":

        async def all_of_them() -> list:
            return await asyncio.gather(*(work_async(steps) for _ in range(at_once)))

        done = asyncio.run(all_of_them())
    elif args.mode == "queue":
        handles = [queue.enqueue(work, steps) for _ in range(at_once)]
        done = [handle.get_result(polling_interval_sec=0.05) for handle in handles]
    elif at_once == 1:
        done = [work(steps)]
    else:
        with ThreadPoolExecutor(at_once) as threads:
            done = list(threads.map(work, [steps] * at_once))
    assert done == [steps] * at_once, done


def settings() -> dict:
    names = ("journal_mode", "synchronous") if sqlite else ("fsync", "synchronous_commit")
    with dbos._sys_db.engine.connect() as connection:
        ask = "PRAGMA " if sqlite else "SHOW "
        return {name: connection.execute(sa.text(ask + name)).scalar() for name in names}


DBOS.launch()
queue = DBOS.register_queue("bench", polling_interval_sec=0.05)
run(args.at_once, 2)
began = time.perf_counter()
run(args.at_once, args.steps)
say("DBOS Transact", args, time.perf_counter() - began, settings())
