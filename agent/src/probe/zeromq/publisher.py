"""A publisher for the probe's tests, in another language than the probe.

usage: publisher.py TYPE ENDPOINT [CURVE_SECRET_KEY]
Prints the endpoint it is bound to. Each line of stdin is JSON and is carried
out in order: {"frames": [hex, ...], "count": n, "every": seconds} sends, and
{"steady": [[hex, ...], ...], "every": seconds} goes on sending these messages
until the next line. PULL_TOO as ENDPOINT's prefix makes a PULL socket beside
a PUSH one, and {"pulled": true} prints how many messages it got.
"""
import json
import select
import sys
import time

import zmq

kind, endpoint = sys.argv[1], sys.argv[2]
context = zmq.Context()
socket = context.socket(getattr(zmq, kind))
socket.setsockopt(zmq.LINGER, 0)
# A publisher that cannot get rid of a message ends, and its test with it.
socket.setsockopt(zmq.SNDTIMEO, 20_000)
if len(sys.argv) > 3:
    socket.curve_server = True
    socket.curve_secretkey = sys.argv[3].encode()
    socket.curve_publickey = zmq.curve_public(sys.argv[3].encode())
socket.bind(endpoint)
bound = socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
puller = None
if kind == "PUSH":
    puller = context.socket(zmq.PULL)
    puller.connect(bound)
print(bound, flush=True)

# Unbuffered, or select would not see a line that was read along with another.
stdin = open(0, "rb", buffering=0)
steady, every = [], 0.01
while True:
    ready, _, _ = select.select([stdin], [], [], every if steady else None)
    if ready:
        line = stdin.readline()
        if not line:
            break
        told = json.loads(line)
        steady, every = told.get("steady", []), told.get("every", 0.01)
        frames = [bytes.fromhex(frame) for frame in told.get("frames", [])]
        for _ in range(told.get("count", 0)):
            socket.send_multipart(frames)
            if every:
                time.sleep(every)
        if told.get("pulled"):
            got = 0
            while puller.poll(500):
                puller.recv()
                got += 1
            print(got, flush=True)
    for message in steady:
        socket.send_multipart([bytes.fromhex(frame) for frame in message])
