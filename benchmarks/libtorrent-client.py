"""libtorrent as a sequential downloader: what the swarm is measured against.

Prints `listening on port N`. A line on stdin is a command: `add MAGNET` prints `first` when the first piece is verified,
and `done` when all are; `seek PIECE` prints `piece` when that one is. Ends when stdin does.
"""
import argparse
import queue
import sys
import threading

import libtorrent as lt

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("transport", choices=["tcp", "utp"])
args = parser.parse_args()

with_tcp = args.transport == "tcp"
session = lt.session({
    "listen_interfaces": "127.0.0.1:0",
    "allow_multiple_connections_per_ip": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_dht": False,
    "enable_incoming_tcp": with_tcp,
    "enable_outgoing_tcp": with_tcp,
    "enable_incoming_utp": not with_tcp,
    "enable_outgoing_utp": not with_tcp,
    "alert_mask": lt.alert.category_t.piece_progress_notification | lt.alert.category_t.status_notification,
})

commands = queue.Queue()


def listen():
    for line in sys.stdin:
        commands.put(line.split())
    commands.put(["end"])


threading.Thread(target=listen, daemon=True).start()
while session.listen_port() == 0:
    session.wait_for_alert(10)
print("listening on port %d" % session.listen_port(), flush=True)

torrent = None
sought = None
while True:
    try:
        command, *rest = commands.get_nowait()
        if command == "add":
            params = lt.parse_magnet_uri(rest[0])
            params.save_path = args.directory
            params.flags |= lt.torrent_flags.sequential_download
            params.flags &= ~lt.torrent_flags.auto_managed
            params.flags &= ~lt.torrent_flags.paused
            torrent = session.add_torrent(params)
        elif command == "seek":
            sought = int(rest[0])
            torrent.set_piece_deadline(sought, 0)
        else:
            break
    except queue.Empty:
        pass
    session.wait_for_alert(2)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.piece_finished_alert):
            if alert.piece_index == 0:
                print("first", flush=True)
            if alert.piece_index == sought:
                print("piece", flush=True)
        elif isinstance(alert, lt.torrent_finished_alert):
            print("done", flush=True)
