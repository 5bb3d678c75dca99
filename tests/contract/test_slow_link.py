"""The benchmarks' slow link carries every byte both ways, and the end of either side; how slowly is proven by each run."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from benchmarks.servers import link


@pytest.mark.parametrize("rate", [None, 1e9])
def test_a_link_carries_what_it_is_given(rate: float | None) -> None:
    question, answer = os.urandom(3 << 20), os.urandom(5 << 20)
    asked = bytearray()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 16):
                asked.extend(data)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with link(listener.getsockname()[1], delay=0.001, rate=rate) as slow:
            assert slow.carried() == (0, 0)
            with socket.create_connection(("127.0.0.1", slow.port)) as client:
                client.sendall(question)
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as stream:
                    assert stream.read() == answer
            server.join()
            assert bytes(asked) == question
            assert slow.carried() == (len(question), len(answer))


def test_a_reader_that_leaves_ends_the_transfer() -> None:
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                while True:
                    connection.sendall(bytes(1 << 20))
            except OSError:
                ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with link(listener.getsockname()[1]) as slow:
            with socket.create_connection(("127.0.0.1", slow.port)) as client:
                assert client.recv(1)
            server.join(60)
            assert ended.is_set()
