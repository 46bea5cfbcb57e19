"""A port has one owner: a second gateway is refused instead of sharing the connections of the first."""

import subprocess

import psutil
import pytest
import yaml
from support.gateway import Gateway, binary
from support.processes import free_port, wait_until
from support.upstream import FakeUpstream
from support.wire import connect, read_response

ASK = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n"


@pytest.mark.parametrize("taken", ["listener", "admin"])
def test_a_port_that_is_served_already_is_refused(start_gateway, upstream: FakeUpstream, tmp_path, taken: str):
    gateway = start_gateway({"raw": upstream.port})
    mine = {"listener": gateway.plain_port, "admin": gateway.admin_port}[taken]
    second = {
        "workers": 1,
        "admin": {"address": f"127.0.0.1:{mine if taken == 'admin' else free_port()}"},
        "listeners": [{"address": f"127.0.0.1:{mine if taken == 'listener' else free_port()}"}],
        "upstreams": {"raw": {"endpoints": [f"127.0.0.1:{upstream.port}"]}},
        "identity": {"database": str(tmp_path / "second.db")},
        "routes": [{"path": "/**", "upstream": "raw", "public": True}],
    }
    file = tmp_path / "second.yaml"
    file.write_text(yaml.dump(second))
    command = [binary(), "run", "--dev", "--config", file]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 1
    assert str(mine) in result.stderr and "another program has the port" in result.stderr
    with gateway.connect() as peer:
        peer.sendall(ASK)
        assert read_response(peer).status == 200


def addresses(gateway: Gateway, port: int) -> set[str]:
    """Where the gateway listens on this port."""
    sockets = psutil.Process(gateway.program.pid).net_connections("tcp")
    return {entry.laddr.ip for entry in sockets if entry.status == psutil.CONN_LISTEN and entry.laddr.port == port}


def test_a_reload_may_move_a_port_to_another_address(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.configuration["listeners"][1]["address"] = f"0.0.0.0:{gateway.plain_port}"
    gateway.reload()
    # Whoever comes while the old address is being closed may still be taken there, and is turned away then.
    wait_until(lambda: addresses(gateway, gateway.plain_port) == {"0.0.0.0"}, "the port has moved")
    assert gateway.metrics()["config_reloads_total"] == 1
    with connect(gateway.plain_port) as peer:
        peer.sendall(ASK)
        assert read_response(peer).status == 200


def test_one_port_may_be_listened_on_at_two_addresses(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    port = free_port()
    gateway.configuration["listeners"] += [{"address": f"{host}:{port}"} for host in ("127.0.0.1", "0.0.0.0", "[::]")]
    gateway.reload()
    wait_until(lambda: gateway.metrics()["config_reloads_total"] == 1, "the reload is taken")
    gateway.stop()
    gateway.start()
    with connect(port) as peer:
        peer.sendall(ASK)
        assert read_response(peer).status == 200
