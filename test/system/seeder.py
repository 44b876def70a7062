"""A BitTorrent client by libtorrent, for tests. Prints one JSON line when it listens; ends when its stdin closes.

It knows nobody but whom it is given: no local discovery, no port mapping, no DHT but those nodes. Each line on its stdin
is answered with one JSON line of what it has counted.
"""
import argparse
import json
import sys
import threading
import time

try:
    import libtorrent as lt
except ImportError as error:
    print(json.dumps({"missing": "python3-libtorrent", "error": str(error)}), flush=True)
    sys.exit(3)

parser = argparse.ArgumentParser()
parser.add_argument("--torrent", required=True, action="append", help="path of the .torrent; may be repeated")
parser.add_argument("--content", required=True, help="directory that holds the torrent's files")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--apart", action="store_true", help="a session for each torrent, on the next ports: of two uTP connections of one session to the same peer libtorrent 2.0.8 says only in the first where it listens")
parser.add_argument("--address", default="127.0.0.1")
parser.add_argument("--dht", action="append", default=[], metavar="HOST:PORT", help="bootstrap node; without one there is no DHT")
parser.add_argument("--peer", action="append", default=[], metavar="HOST:PORT", help="peer to connect to")
parser.add_argument("--transport", choices=["both", "tcp", "utp"], default="both")
parser.add_argument("--upload-limit", type=int, default=0, help="bytes a second, 0 for none")
parser.add_argument("--download-limit", type=int, default=0, help="bytes a second, 0 for none")
parser.add_argument("--keep-redundant", action="store_true", help="stays connected to peers that need nothing of it, nor it of them")
parser.add_argument("--connect-timeout", type=int, default=15, help="seconds until a dial by TCP has failed")
parser.add_argument("--seeds-wait", action="store_true", help="once it has a peer, dials nobody while it seeds, but whom it is introduced to")
parser.add_argument("--passive", action="store_true", help="connects to nobody, only accepts")
parser.add_argument("--leech", action="store_true", help="has nothing yet: downloads")
parser.add_argument("--encryption", choices=["enabled", "forced", "off"], default="enabled", help="MSE, in and out")
parser.add_argument("--lsd", action="store_true", help="local discovery (BEP 14)")
parser.add_argument("--unchecked", action="store_true", help="believes its files, whatever is in them")
args = parser.parse_args()

with_tcp = args.transport != "utp"
with_utp = args.transport != "tcp"
policy = int({"enabled": lt.enc_policy.pe_enabled, "forced": lt.enc_policy.pe_forced, "off": lt.enc_policy.pe_disabled}[args.encryption])
def start(port):
    session = lt.session({
        "listen_interfaces": "%s:%d" % (args.address, port),
        # On loopback all have one address.
        "allow_multiple_connections_per_ip": args.address.startswith("127."),
        "enable_lsd": args.lsd,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_dht": bool(args.dht),
        "dht_bootstrap_nodes": ",".join(args.dht[:1]),
        # The whole DHT has one address here, and would soon be blocked for its many packets.
        "dht_block_ratelimit": 1000000,
        "dht_upload_rate_limit": 10000000,
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_ignore_dark_internet": False,
        "dht_enforce_node_id": False,
        "dht_privacy_lookups": False,
        "enable_incoming_tcp": with_tcp,
        "enable_outgoing_tcp": with_tcp and not args.passive,
        "enable_incoming_utp": with_utp,
        "enable_outgoing_utp": with_utp and not args.passive,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
        "upload_rate_limit": args.upload_limit,
        "download_rate_limit": args.download_limit,
        # Under a limit, what others have to say waits behind all that was asked for.
        **({"max_out_request_queue": 2} if args.download_limit else {}),
        "close_redundant_connections": not args.keep_redundant,
        "peer_connect_timeout": args.connect_timeout,
        "unchoke_slots_limit": 64,
        "disable_hash_checks": args.unchecked,
        "in_enc_policy": policy,
        "out_enc_policy": policy,
        "allowed_enc_level": int(lt.enc_level.pe_both),
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
    })

    # Loopback counts as a local network, which has no rate limit by itself.
    everybody = lt.ip_filter()
    everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
    session.set_peer_class_filter(everybody)
    return session


# Python has no name for it.
UTP_SOCKET = 1 << 17

count = len(args.torrent) if args.apart else 1
sessions = [start(args.port + i if args.port else 0) for i in range(count)]
torrents = []
for i, path in enumerate(args.torrent):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(path)
    params.save_path = args.content
    if not args.leech:
        params.flags |= lt.torrent_flags.seed_mode
    params.flags &= ~lt.torrent_flags.auto_managed
    params.flags &= ~lt.torrent_flags.paused
    torrents.append(sessions[i % count].add_torrent(params))
for torrent in torrents:
    for peer in args.peer:
        host, _, port = peer.rpartition(":")
        torrent.connect_peer((host.strip("[]"), int(port)))

deadline = time.monotonic() + 20
while any(session.listen_port() == 0 for session in sessions):
    if time.monotonic() > deadline:
        print(json.dumps({"error": "it does not listen"}), flush=True)
        sys.exit(1)
    time.sleep(0.02)
print(json.dumps({"port": sessions[0].listen_port()}), flush=True)


def announce():
    """Enters the DHT and announces the torrent there; by itself it would wait a quarter of an hour."""
    # The bootstrap node itself never enters its routing table unless added.
    while args.dht:
        for node in args.dht:
            host, _, port = node.rpartition(":")
            for session in sessions:
                session.add_dht_node((host, int(port)))
        for torrent in torrents:
            torrent.force_dht_announce()
        time.sleep(0.5)


threading.Thread(target=announce, daemon=True).start()


def wait():
    while args.seeds_wait and all(torrent.status().num_connections == 0 for torrent in torrents):
        time.sleep(0.02)
    if args.seeds_wait:
        for session in sessions:
            session.apply_settings({"seeding_outgoing_connections": False})


threading.Thread(target=wait, daemon=True).start()


def counts(torrent):
    status = torrent.status()
    return {
        "infohash": str(torrent.info_hash()),
        "uploaded": status.total_payload_upload,
        "downloaded": status.total_payload_download,
        "peers": status.num_peers,
        "isSeeding": status.is_seeding,
        # Of those that are connected, handshakes done.
        "connected": [{
            "address": "%s:%d" % peer.ip,
            "client": peer.client.decode("utf-8", "replace") if isinstance(peer.client, bytes) else peer.client,
            "isUtp": bool(peer.flags & UTP_SOCKET),
            "isOutgoing": bool(peer.flags & lt.peer_info.local_connection),
            "isHolepunched": bool(peer.flags & lt.peer_info.holepunched),
            "received": peer.total_download,
            "sent": peer.total_upload,
        } for peer in torrent.get_peer_info() if not peer.flags & (lt.peer_info.connecting | lt.peer_info.handshake)],
    }


def talk():
    """The counts of the first torrent, and in `torrents` those of each."""
    for _ in sys.stdin:
        each = [counts(torrent) for torrent in torrents]
        print(json.dumps({**each[0], "torrents": each}), flush=True)


# The main thread waits here; when the test's process dies, stdin ends and so does this.
thread = threading.Thread(target=talk)
thread.start()
thread.join()
