"""`python -m bench._delay HOST PORT SECONDS`: a line to a server on which every byte takes so long, each way."""

import asyncio
import contextlib
import os
import sys

_CHUNK = 1 << 18
_IN_FLIGHT = 16 << 20
"""Bytes on the line, each way of each connection: no line is so fast that it would hold more."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT // _CHUNK)

    async def arrive() -> None:
        while True:
            at, chunk = await line.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not chunk:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    arriving = asyncio.ensure_future(arrive())
    try:
        chunk = b"-"
        while chunk:
            chunk = await reader.read(_CHUNK)
            await line.put((loop.time() + delay_s, chunk))
        await arriving
    except OSError:
        arriving.cancel()


async def _serve(host: str, port: int, delay_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, port, limit=_CHUNK * 2)
            await asyncio.gather(_carry(reader, back, delay_s), _carry(there, writer, delay_s))
            back.close()
        except OSError:
            pass  # one end has gone
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK * 2)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # whoever is still connected is of no interest any more


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
