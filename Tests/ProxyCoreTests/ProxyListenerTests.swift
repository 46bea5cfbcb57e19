import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Listeners whose peers say by the PROXY protocol whose a connection is, and caps for each client's address.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct ProxyListenerTests {
    private static let loopback = PeerSet(
        networks: [(IPAddress(high: 0, low: 0xFFFF_7F00_0000), 104)], includesUnix: false)
    private static let others = PeerSet(networks: [(IPAddress(high: 0, low: 0xFFFF_0A00_0000), 104)])

    private func withProxies(
        _ peers: PeerSet? = loopback, tls: TLSContext? = nil,
        listener: (inout ListenerSettings) -> Void = { _ in },
        _ body: (TestGateway) throws -> Void
    ) throws {
        let gateway = try TestGateway(
            tls: tls,
            listener: {
                $0.proxyPeers = peers
                listener(&$0)
            })
        defer { gateway.stop() }
        try body(gateway)
    }

    /// What was noted, once there are as many.
    private func notes(_ gateway: TestGateway, _ count: Int) -> [ConnectionRefusals.Reason: Int] {
        var notes: [ConnectionRefusals.Reason: Int] = [:]
        _ = eventually {
            for note in gateway.connections.refusals.takeAll() { notes[note.reason, default: 0] += note.count }
            return notes.values.reduce(0, +) >= count
        }
        return notes
    }

    private static let line = "PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n"

    @Test func `the peer is the one that the header says, for every request of the connection`() throws {
        try withProxies { gateway in
            let client = try gateway.connect()
            client.send(Self.line + get("/peer") + get("/peer"))
            #expect(client.readMessage().body == "192.0.2.7 56324")
            #expect(client.readMessage().body == "192.0.2.7 56324")
            // Later bytes of that form are a request, and none.
            client.send(Self.line)
            #expect(client.readMessage().status == 400)
        }
    }

    @Test func `a header that comes byte by byte is one`() throws {
        try withProxies { gateway in
            let client = try gateway.connect()
            for character in Self.line {
                client.send(String(character))
                _ = gateway.connectionCount
            }
            #expect(eventually { gateway.connectionCount == 1 })
            client.send(get("/peer"))
            #expect(client.readMessage().body == "192.0.2.7 56324")
        }
    }

    @Test func `the header comes before TLS`() throws {
        let certificates = try TestCertificates([["first.test"]])
        try withProxies(tls: try certificates.context()) { gateway in
            let client = try TLSClient(gateway)
            #expect(client.send(bytes: Array(Self.line.utf8)) && client.handshake() && client.send(get("/peer")))
            #expect(client.read(until: "192.0.2.7 56324").hasSuffix("192.0.2.7 56324"))
            let without = try gateway.connect()
            without.send([0x16, 3, 1, 0, 200, 1])
            #expect(without.sawEnd())
        }
    }

    @Test func `where the header knows no source the socket's own holds`() throws {
        try withProxies { gateway in
            let client = try gateway.connect()
            client.send("PROXY UNKNOWN\r\n" + get("/peer"))
            #expect(client.readMessage().body == "127.0.0.1 \(client.localPort)")
            let local = try gateway.connect()
            local.send(
                [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10, 0x20, 0, 0, 0] + Array(get("/peer").utf8))
            #expect(local.readMessage().body == "127.0.0.1 \(local.localPort)")
        }
    }

    @Test func `a peer that is not listed is refused with its header, and without`() throws {
        try withProxies(Self.others) { gateway in
            for text in [Self.line + get("/peer"), get("/peer"), ""] {
                let client = try gateway.connect()
                client.send(text)
                #expect(client.sawEnd())
            }
            #expect(notes(gateway, 3) == [.proxyPeer: 3])
            #expect(gateway.counters.proxyHeadersRefused.value == 3)
            #expect(gateway.record.all.isEmpty)
        }
    }

    @Test func `where the protocol is not spoken a header is a malformed request`() throws {
        try withProxies(nil) { gateway in
            let client = try gateway.connect()
            client.send(Self.line + get("/peer"))
            #expect(client.readMessage().status == 400)
        }
    }

    @Test func `a listed peer without a sound header is closed, and so is one that is slow`() throws {
        try withProxies(listener: { $0.handshakeTimeout = 100 * TestGateway.millisecond }) { gateway in
            for text in [get("/peer"), "PROXY TCP4 1.2.3.4\r\n" + get("/peer"), "PROXY"] {
                let client = try gateway.connect()
                client.send(text)
                #expect(client.sawEnd())
            }
            #expect(notes(gateway, 3) == [.proxyHeader: 3])
            // Half a header, and the end.
            let client = try gateway.connect()
            client.send("PROXY TCP4")
            client.halfClose()
            #expect(client.sawEnd())
            #expect(notes(gateway, 1) == [.proxyHeader: 1])
            // One that only looks whether somebody listens is none to warn of.
            let health = try gateway.connect()
            health.halfClose()
            #expect(health.sawEnd())
            #expect(gateway.counters.proxyHeadersRefused.value == 4)
            #expect(eventually { gateway.connections.isEmpty })
        }
    }

    @Test func `a whole header with the end behind it is served`() throws {
        try withProxies { gateway in
            let client = try gateway.connect()
            client.send(Self.line + get("/peer"))
            client.halfClose()
            #expect(client.readMessage().body == "192.0.2.7 56324")
        }
    }

    @Test func `connections that wait for their header do not keep a worker from draining`() throws {
        try withProxies { gateway in
            let silent = try gateway.connect()
            let slow = try gateway.connect()
            slow.send("PROXY TCP4")
            let ready = try gateway.connect()
            #expect(eventually { !gateway.connections.isEmpty })
            // All three are there, one of them with a request, before the worker looks.
            let release = gateway.hold()
            let drained = gateway.drainLater()
            ready.send(Self.line + get("/own"))
            release.open()
            #expect(ready.readMessage().status == 200)
            #expect(silent.sawEnd() && slow.sawEnd() && ready.sawEnd())
            #expect(eventually { drained.isSet })
            #expect(gateway.connections.isEmpty)
        }
    }

    // MARK: Caps

    @Test func `an address may have as many connections as its cap says, and gets its places back`() throws {
        try withProxies(listener: { $0.connectionsPerAddressMax = 2 }) { gateway in
            func connect(_ address: String) throws -> Peer {
                let client = try gateway.connect()
                client.send("PROXY TCP\(address.contains(":") ? 6 : 4) \(address) \(address) 1 1\r\n" + get("/own"))
                return client
            }
            let two = try (0..<2).map { _ in try connect("192.0.2.7") }
            for client in two { #expect(client.readMessage().status == 200) }
            #expect(try connect("192.0.2.7").sawEnd())
            #expect(notes(gateway, 1) == [.perAddress: 1])
            let other = try connect("192.0.2.8")
            #expect(other.readMessage().status == 200)
            two[0].close()
            #expect(eventually { gateway.connectionCount == 2 })
            #expect(try connect("192.0.2.7").readMessage().status == 200)
            // IPv6 by /64.
            let six = [try connect("2001:db8::1"), try connect("2001:db8::2:1")]
            for client in six { #expect(client.readMessage().status == 200) }
            #expect(try connect("2001:db8:0:0:ffff::").sawEnd())
            let neighbour = try connect("2001:db8:0:1::1")
            #expect(neighbour.readMessage().status == 200)
            for client in two + six + [other, neighbour] { client.close() }
            #expect(eventually { gateway.connections.clientCount == 0 && gateway.connections.isEmpty })
        }
    }

    @Test func `without proxies the socket's address is the one that counts`() throws {
        try withProxies(nil, listener: { $0.connectionsPerAddressMax = 3 }) { gateway in
            let clients = try (0..<3).map { _ in try gateway.connect() }
            for client in clients {
                client.send(get("/own"))
                #expect(client.readMessage().status == 200)
            }
            #expect(try gateway.connect().sawEnd())
            #expect(gateway.counters.connectionsRefused.value == 1)
            for client in clients { client.close() }
            #expect(eventually { gateway.connections.clientCount == 0 })
        }
    }
}
