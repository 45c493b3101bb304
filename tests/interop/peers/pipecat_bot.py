#!/usr/bin/env python3
"""A Pipecat bot: FastAPI WebSocket transport and Twilio serializer, sending back what it hears.

The pipeline needs no model: input → echo → output. Every event goes to standard output as one JSON
line with `event` and `at` (seconds on the machine's monotonic clock); commands come on standard
input, one JSON line each, and meet the newest call:

    {"command": "tone", "seconds": 10}    speaks a 440 Hz tone, sent as fast as the transport will
    {"command": "interrupt"}              what Pipecat does when the caller barges in
    {"command": "hangup"}                 ends the pipeline, which closes the WebSocket

Events: listening, start (customParameters and ids), dtmf, first-audio, interrupted, disconnected.
"""

import argparse
import array
import asyncio
import json
import math
import socket
import sys
import threading
import time

from loguru import logger

logger.remove()
logger.add(sys.stderr, level="INFO")

import uvicorn  # noqa: E402
from fastapi import FastAPI, WebSocket  # noqa: E402
from pipecat.frames.frames import (  # noqa: E402
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineParams, PipelineWorker  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor  # noqa: E402
from pipecat.runner.utils import parse_telephony_websocket  # noqa: E402
from pipecat.serializers.twilio import TwilioFrameSerializer  # noqa: E402
from pipecat.transports.websocket.fastapi import (  # noqa: E402
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)
from pipecat.workers.runner import WorkerRunner  # noqa: E402

RATE_HZ = 8000


def emit(event, **fields):
    print(json.dumps({"event": event, "at": round(time.monotonic(), 6), **fields}), flush=True)


class Echo(FrameProcessor):
    """Sends back what comes in, unless it is told to keep quiet while it speaks itself."""

    def __init__(self, echo: bool):
        super().__init__()
        self.echo = echo
        self.heard = False

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if not self.heard:
                self.heard = True
                emit("first-audio", bytes=len(frame.audio), rate=frame.sample_rate)
            if self.echo:
                await self.push_frame(
                    OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
                )
            return
        if isinstance(frame, InputDTMFFrame):
            emit("dtmf", digit=str(getattr(frame.button, "value", frame.button)))
        await self.push_frame(frame, direction)

    async def tone(self, seconds: float):
        self.echo = False
        samples = array.array(
            "h",
            (int(8000 * math.sin(2 * math.pi * 440 * n / RATE_HZ)) for n in range(int(RATE_HZ * seconds))),
        )
        await self.push_frame(OutputAudioRawFrame(samples.tobytes(), RATE_HZ, 1))
        emit("tone", seconds=seconds)


class Bot:
    def __init__(self, options):
        self.options = options
        self.worker = None
        self.echo = None
        self.app = FastAPI()
        self.app.add_api_websocket_route("/ws", self.serve)

    async def serve(self, websocket: WebSocket):
        await websocket.accept()
        kind, call = await parse_telephony_websocket(websocket)
        emit("start", transport=kind, streamSid=call["stream_id"], callSid=call["call_id"],
             customParameters=call.get("body", {}))
        serializer = TwilioFrameSerializer(
            stream_sid=call["stream_id"],
            call_sid=call["call_id"],
            params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
        )
        transport = FastAPIWebsocketTransport(
            websocket=websocket,
            params=FastAPIWebsocketParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                audio_in_sample_rate=RATE_HZ,
                audio_out_sample_rate=RATE_HZ,
                audio_out_10ms_chunks=self.options.chunk_ms // 10,
                serializer=serializer,
            ),
        )
        self.echo = Echo(echo=not self.options.silent)
        self.worker = PipelineWorker(
            Pipeline([transport.input(), self.echo, transport.output()]),
            params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
            cancel_on_idle_timeout=False,
        )
        worker = self.worker

        @transport.event_handler("on_client_disconnected")
        async def gone(_transport, _websocket):
            emit("disconnected")
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(worker)
        await runner.run()
        emit("pipeline-ended")

    async def perform(self, command):
        name = command["command"]
        if name == "tone":
            await self.echo.tone(command.get("seconds", 10))
        elif name == "interrupt":
            emit("interrupted")
            await self.echo.broadcast_interruption()
        elif name == "hangup":
            emit("hangup")
            await self.worker.queue_frame(EndFrame())


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--silent", action="store_true", help="no echo")
    parser.add_argument("--chunk-ms", type=int, default=40, help="how much audio goes into one message")
    options = parser.parse_args()

    bot = Bot(options)
    loop = asyncio.get_running_loop()

    def read_commands():
        for line in sys.stdin:
            if line.strip():
                asyncio.run_coroutine_threadsafe(bot.perform(json.loads(line)), loop)

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen(64)
    threading.Thread(target=read_commands, daemon=True).start()
    emit("listening", port=listener.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(bot.app, log_level="warning", ws_ping_interval=None))
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
