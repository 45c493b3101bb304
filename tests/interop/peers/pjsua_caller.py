#!/usr/bin/env python3
"""A softphone on PJSIP: calls (or answers) over TLS with SRTP, speaks a WAV file, records what it hears.

It has no sound device. Every event goes to standard output as one JSON line with `event` and `at`
(seconds on the machine's monotonic clock, comparable between processes); commands come on standard
input, one JSON line each:

    {"command": "dtmf", "digits": "5#"}
    {"command": "hold"} {"command": "resume"} {"command": "hangup"} {"command": "quit"}

Events: ready, calling, ringing, connected, media, sip, dtmf, dtmf-sent, statistics, disconnected, end.
The played and the recorded file start at the same instant of the same clock ("media"), so a
position in one is comparable with a position in the other.
"""

import argparse
import json
import os
import queue
import re
import sys
import threading
import time

import pjsua2 as pj

# "TX 1173 bytes Request msg INVITE/cseq=1 (tdta0x…) to TLS 127.0.0.1:5061:"
SIP_LINE = re.compile(
    r"(TX|RX) \d+ bytes (Request|Response) msg ([A-Z0-9]+)(?:/([A-Z]+))?/cseq=(\d+)"
)


def emit(event, **fields):
    print(json.dumps({"event": event, "at": round(time.monotonic(), 6), **fields}), flush=True)


class Log(pj.LogWriter):
    """Passes on the first line of each SIP message; the rest, keys included, is dropped."""

    def write(self, entry):
        if found := SIP_LINE.search(entry.msg):
            direction, kind, first, method, cseq = found.groups()
            emit("sip", direction="sent" if direction == "TX" else "received",
                 what=first if kind == "Request" else f"{first} ({method})", cseq=int(cseq))


class Caller(pj.Call):
    def __init__(self, account, options, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.options = options
        self.player = None
        self.recorder = None
        self.connected_at = None
        self.over = False

    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CALLING:
            emit("calling")
        elif info.state == pj.PJSIP_INV_STATE_EARLY:
            emit("ringing", status=info.lastStatusCode)
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self.connected_at = time.monotonic()
            emit("connected")
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.recorder = None
            self.over = True
            emit("disconnected", status=info.lastStatusCode, reason=info.lastReason)

    def onCallMediaState(self, prm):
        info = self.getInfo()  # held: `media` is a view into it
        for index, media in enumerate(info.media):
            if media.type != pj.PJMEDIA_TYPE_AUDIO or media.status != pj.PJSUA_CALL_MEDIA_ACTIVE:
                continue
            stream = self.getStreamInfo(index)
            audio = self.getAudioMedia(index)
            if self.options.record and self.recorder is None:
                self.recorder = pj.AudioMediaRecorder()
                self.recorder.createRecorder(self.options.record)
                audio.startTransmit(self.recorder)
            if self.options.play and self.player is None:
                self.player = pj.AudioMediaPlayer()
                self.player.createPlayer(self.options.play, pj.PJMEDIA_FILE_NO_LOOP)
                self.player.startTransmit(audio)
            elif self.player is not None:
                self.player.startTransmit(audio)
            if self.options.echo:
                audio.startTransmit(audio)
            emit("media", codec=stream.codecName, rate=stream.codecClockRate,
                 srtp=stream.proto == pj.PJMEDIA_TP_PROTO_RTP_SAVP, remote=stream.remoteRtpAddress)

    def onDtmfDigit(self, prm):
        emit("dtmf", digit=prm.digit)

    def onStreamDestroyed(self, prm):
        try:
            statistics = self.getStreamStat(prm.streamIdx).rtcp
            emit("statistics", received=statistics.rxStat.pkt, sent=statistics.txStat.pkt,
                 lost=statistics.rxStat.loss, jitter_us=statistics.rxStat.jitterUsec.mean)
        except pj.Error:
            pass


class Account(pj.Account):
    def __init__(self, options):
        super().__init__()
        self.options = options
        self.call = None

    def onIncomingCall(self, prm):
        self.call = Caller(self, self.options, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        self.call.answer(answer)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", help="whom to call; without it the softphone answers")
    parser.add_argument("--from", dest="sender", default="sip:+15550100@127.0.0.1")
    parser.add_argument("--address", default="127.0.0.1", help="local address of SIP and media")
    parser.add_argument("--port", type=int, default=0, help="local SIP port")
    parser.add_argument("--transport", choices=["tls", "tcp", "udp"], default="tls")
    parser.add_argument("--srtp", choices=["mandatory", "optional", "off"], default="mandatory")
    parser.add_argument("--ca", help="CA file that the peer's certificate must be signed by")
    parser.add_argument("--certificate", help="own certificate (needed to answer over TLS)")
    parser.add_argument("--key", help="its private key")
    parser.add_argument("--ask-certificate", action="store_true", help="take only peers with a certificate of --ca")
    parser.add_argument("--codec", default="PCMU/8000", help="the one codec that is offered")
    parser.add_argument("--play", help="WAV file to speak, 8 kHz mono PCM")
    parser.add_argument("--record", help="WAV file for what is heard")
    parser.add_argument("--echo", action="store_true", help="send back what is heard")
    parser.add_argument("--username")
    parser.add_argument("--password")
    parser.add_argument("--dtmf", help="digits to send")
    parser.add_argument("--dtmf-after", type=float, default=1.0, help="seconds after the answer")
    parser.add_argument("--hangup-after", type=float, help="seconds after the answer")
    parser.add_argument("--give-up-after", type=float, default=120.0, help="seconds in all")
    return parser.parse_args()


def make_endpoint(options, log):
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.userAgent = "pjsua2"
    config.logConfig.level = 4
    config.logConfig.consoleLevel = 4  # gates the writer too
    config.logConfig.msgLogging = 1
    config.logConfig.writer = log
    config.medConfig.clockRate = 8000
    config.medConfig.sndClockRate = 8000
    config.medConfig.ecTailLen = 0
    config.medConfig.noVad = True
    config.medConfig.hasIoqueue = True
    endpoint.libInit(config)

    transport = pj.TransportConfig()
    transport.port = options.port
    transport.boundAddress = options.address
    kind = {"tls": pj.PJSIP_TRANSPORT_TLS, "tcp": pj.PJSIP_TRANSPORT_TCP, "udp": pj.PJSIP_TRANSPORT_UDP}
    if options.transport == "tls":
        if options.ca:
            transport.tlsConfig.CaListFile = options.ca
            transport.tlsConfig.verifyServer = True
            transport.tlsConfig.verifyClient = options.ask_certificate
            transport.tlsConfig.requireClientCert = options.ask_certificate
        if options.certificate:
            transport.tlsConfig.certFile = options.certificate
            transport.tlsConfig.privKeyFile = options.key
    endpoint.transportCreate(kind[options.transport], transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        priority = 255 if codec.codecId.startswith(options.codec) else 0
        endpoint.codecSetPriority(codec.codecId, priority)
    return endpoint


def make_account(options):
    config = pj.AccountConfig()
    config.idUri = options.sender
    config.mediaConfig.srtpUse = {
        "mandatory": pj.PJMEDIA_SRTP_MANDATORY,
        "optional": pj.PJMEDIA_SRTP_OPTIONAL,
        "off": pj.PJMEDIA_SRTP_DISABLED,
    }[options.srtp]
    config.mediaConfig.srtpSecureSignaling = 1 if options.transport == "tls" else 0
    config.mediaConfig.transportConfig.boundAddress = options.address
    config.mediaConfig.transportConfig.publicAddress = options.address
    config.mediaConfig.transportConfig.port = 0
    if options.username:
        config.sipConfig.authCreds.append(
            pj.AuthCredInfo("digest", "*", options.username, 0, options.password)
        )
    account = Account(options)
    account.create(config)
    return account


def read_commands(commands):
    for line in sys.stdin:
        if line.strip():
            commands.put(json.loads(line))


def hang_up(call):
    if call and not call.over:
        try:
            call.hangup(pj.CallOpParam())
        except pj.Error as error:
            emit("error", text=error.reason)


def perform(call, command):
    """Carries out one command; true when the softphone shall leave."""
    name = command["command"]
    if name == "hangup":
        hang_up(call)
    elif name == "dtmf":
        call.dialDtmf(command["digits"])
        emit("dtmf-sent", digits=command["digits"])
    elif name == "hold":
        call.setHold(pj.CallOpParam())
    elif name == "resume":
        parameters = pj.CallOpParam(True)
        parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
        call.reinvite(parameters)
    return name == "quit"


def main():
    options = parse_arguments()
    commands = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()

    log = Log()
    endpoint = make_endpoint(options, log)
    account = make_account(options)
    emit("ready", transport=options.transport)
    if options.uri:
        account.call = Caller(account, options)
        account.call.makeCall(options.uri, pj.CallOpParam(True))

    started, dtmf_sent, hung_up, leave = time.monotonic(), False, False, False
    while not leave:
        endpoint.libHandleEvents(10)
        call, now = account.call, time.monotonic()
        while not commands.empty():
            leave = perform(call, commands.get()) or leave
        if call and call.connected_at and not call.over:
            up = now - call.connected_at
            if options.dtmf and not dtmf_sent and up >= options.dtmf_after:
                dtmf_sent = True
                perform(call, {"command": "dtmf", "digits": options.dtmf})
            if options.hangup_after and not hung_up and up >= options.hangup_after:
                hung_up = True
                hang_up(call)
        if now - started > options.give_up_after:
            hang_up(call)
            leave = True
        if call and call.over:
            break

    until = time.monotonic() + 0.3  # lets the last messages leave
    while time.monotonic() < until:
        endpoint.libHandleEvents(10)
    if account.call:
        account.call.player = None
        account.call.recorder = None
    endpoint.libDestroy()
    emit("end")
    sys.stdout.flush()
    os._exit(0)  # the bindings' destructors call into a library that is gone by now


if __name__ == "__main__":
    main()
