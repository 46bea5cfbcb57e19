import COpenSSL
import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// TLS as a client of OpenSSL's meets it, on workers.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct TLSTests {
    private let certificates: TestCertificates
    private static let short = 150 * TestGateway.millisecond

    init() throws {
        certificates = try TestCertificates([
            ["first.test"], ["second.test", "*.wild.test"], ["exact.wild.test", "third.test"],
        ])
    }

    /// A worker with TLS in front of an endpoint that says `ok`.
    private func withTLS(
        _ context: TLSContext? = nil, ticketKeys: TicketKeys = TicketKeys(),
        listener: (inout ListenerSettings) -> Void = { _ in }, _ body: (TestGateway) throws -> Void
    ) throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(
            upstream, tls: try context ?? certificates.context(), ticketKeys: ticketKeys, listener: listener, body)
    }

    private func isServed(_ client: TLSClient) -> Bool {
        guard client.handshake(), client.send(get("/")) else { return false }
        return client.readAnswer().hasPrefix("HTTP/1.1 200")
    }

    /// The worker does its work: a client without whims gets its answer.
    private func expectHealthy(_ gateway: TestGateway) throws {
        // Where a handshake has little time, a busy machine may need another try.
        #expect(try (0..<5).contains { _ in isServed(try TLSClient(gateway)) })
        #expect(eventually { gateway.connectionCount == 0 })
    }

    /// Returns when the worker has had two turns: what was sent before has been seen.
    private func letSee(_ gateway: TestGateway) { for _ in 0..<2 { _ = gateway.connectionCount } }

    // MARK: Names

    @Test(
        arguments: [
            (nil, "first.test"), ("first.test", "first.test"), ("second.test", "second.test"),
            ("SECOND.Test", "second.test"), ("second.test.", "second.test"), ("third.test", "exact.wild.test"),
            ("a.wild.test", "second.test"), ("A.WILD.test", "second.test"), ("exact.wild.test", "exact.wild.test"),
            ("a.b.wild.test", "first.test"), ("wild.test", "first.test"), (".wild.test", "first.test"),
            ("unknown.test", "first.test"), ("second.test.evil", "first.test"), ("127.0.0.1", "first.test"),
        ] as [(String?, String)], [TLS1_2_VERSION, TLS1_3_VERSION])
    func `the certificate is that of the name, exactly or by its first label, else the first`(
        name: (asked: String?, answered: String), version: CInt
    ) throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway, .init(serverName: name.asked, version: version))
            #expect(isServed(client))
            #expect(client.certificateName == name.answered)
        }
    }

    // MARK: Versions

    @Test func `TLS 1.2 and 1.3 are spoken, and the newest is chosen`() throws {
        try withTLS { gateway in
            for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
                let client = try TLSClient(gateway, .init(version: version))
                #expect(isServed(client) && client.version == version)
            }
            let client = try TLSClient(gateway)
            #expect(isServed(client) && client.version == TLS1_3_VERSION)
            #expect(gateway.counters.handshakeFailures.value == 0)
        }
    }

    @Test(
        arguments: [
            (TLS1_VERSION, nil, false), (TLS1_1_VERSION, nil, false), (TLS1_2_VERSION, nil, true),
            (TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", false), (TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", false),
            (TLS1_2_VERSION, "AES128-GCM-SHA256", false), (TLS1_2_VERSION, "ECDHE-ECDSA-NULL-SHA", false),
            (TLS1_2_VERSION, "AECDH-AES128-SHA", false),
        ] as [(CInt, String?, Bool)])
    func `older versions and weaker ciphers get no handshake, nor TLS 1.2 where the profile is modern`(
        version: CInt, ciphers: String?, isModern: Bool
    ) throws {
        let isFine =
            version == TLS1_2_VERSION && ciphers?.hasSuffix("-GCM-SHA256") == true
            && ciphers?.hasPrefix("ECDHE") == true
        try withTLS(try certificates.context(profile: isModern ? .modern : .intermediate)) { gateway in
            let client = try TLSClient(gateway, .init(version: version, ciphers: ciphers.map { $0 + ":@SECLEVEL=0" }))
            #expect(client.handshake() == isFine)
            #expect(gateway.record.all.isEmpty)
            #expect(eventually { gateway.counters.handshakeFailures.value == (isFine ? 0 : 1) })
            if !isFine { try expectHealthy(gateway) }
        }
    }

    // MARK: ALPN

    @Test(
        arguments: [
            ([], ""), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["h2"], nil),
            (["http/1.0", "spdy/3"], nil), (["http/1.1x"], nil), (["http/1."], nil), (["HTTP/1.1"], nil),
        ] as [([String], String?)], [TLS1_2_VERSION, TLS1_3_VERSION])
    func `HTTP 1.1 is chosen where it is offered, and a client with other protocols alone is refused`(
        offer: (names: [String], answer: String?), version: CInt
    ) throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway, .init(protocols: offer.names, version: version))
            #expect(isServed(client) == (offer.answer != nil))
            if let answer = offer.answer { #expect(client.chosenProtocol == (answer.isEmpty ? nil : answer)) }
            #expect(gateway.record.ends(offer.answer == nil ? 0 : 1).count == (offer.answer == nil ? 0 : 1))
        }
    }

    @Test(
        arguments: [
            ([.http2, .http1], ["http/1.1", "h2"], "h2"), ([.http1, .http2], ["h2", "http/1.1"], "http/1.1"),
            ([.http2, .http1], ["http/1.1"], "http/1.1"), ([.http2, .http1], ["h2"], "h2"),
            ([.http2, .http1], [], ""), ([.http2, .http1], ["h2c", "h", "h22"], nil),
            ([.http2], ["http/1.1", "h2"], "h2"), ([.http2], ["http/1.1"], nil), ([.http2], [], nil),
            ([.http1, .http2], [], ""), ([.http1], ["h2"], nil),
        ] as [([ApplicationProtocol], [String], String?)], [TLS1_2_VERSION, TLS1_3_VERSION])
    func `the first of the listener's protocols that the client names is chosen, and none in common is a fatal alert`(
        offer: (own: [ApplicationProtocol], names: [String], answer: String?), version: CInt
    ) throws {
        try withTLS(try certificates.context(protocols: offer.own)) { gateway in
            // A second certificate's context answers like the first one's.
            for name in ["first.test", "second.test"] {
                let client = try TLSClient(
                    gateway, .init(serverName: name, protocols: offer.names, version: version))
                #expect(client.handshake() == (offer.answer != nil))
                if let answer = offer.answer {
                    #expect(client.chosenProtocol == (answer.isEmpty ? nil : answer))
                    // In TLS 1.3 the client is done before the gateway has read its Finished.
                    #expect(
                        eventually {
                            gateway.onWorker { worker, _ in
                                worker.connections.values.map { $0 is HTTP2Connection }
                            } == [answer == "h2"]
                        })
                } else {
                    #expect(client.alert == SSL_AD_NO_APPLICATION_PROTOCOL)
                }
                client.peer.close()
                #expect(eventually { gateway.connectionCount == 0 })
            }
        }
    }

    // MARK: Tickets

    /// Goes through one exchange; the tickets that came with it.
    private func tickets(
        of gateway: TestGateway, version: CInt, resuming ticket: TLSTicket? = nil, isResumed: Bool,
        serverName: String? = nil
    ) throws -> [TLSTicket] {
        let client = try TLSClient(
            gateway, .init(serverName: serverName, version: version, resuming: ticket))
        #expect(isServed(client))
        #expect(client.wasResumed == isResumed)
        return isResumed && version == TLS1_2_VERSION ? [client.session12].compactMap { $0 } : client.tickets
    }

    /// What a session holds of its handshake: the types of the key pair made for it and of the client's key, where there
    /// are such keys, and the name that was asked for.
    private static func remains(of connection: DownstreamConnection) -> (keys: [CInt], name: String?)? {
        switch connection.transport.tls {
        case .none: return nil
        case .some(let tls):
            var types: [CInt] = []
            for which in [SSL_CTRL_GET_TMP_KEY, SSL_CTRL_GET_PEER_TMP_KEY] {
                var key: OpaquePointer?
                guard unsafe SSL_ctrl(tls.session, which, 0, &key) == 1 else { continue }
                types.append(unsafe EVP_PKEY_get_base_id(key))
                unsafe EVP_PKEY_free(key)
            }
            let name = unsafe SSL_get_servername(tls.session, TLSEXT_NAMETYPE_host_name)
            return (types, unsafe name.map { unsafe String(cString: $0) })
        }
    }

    @Test(arguments: [(TLS1_3_VERSION, false), (TLS1_3_VERSION, true), (TLS1_2_VERSION, false), (TLS1_2_VERSION, true)])
    func `nothing of a handshake's own keys is left when it is over`(version: CInt, isResumed: Bool) throws {
        try withTLS { gateway in
            var ticket: TLSTicket?
            if isResumed {
                ticket = try tickets(
                    of: gateway, version: version, resuming: nil, isResumed: false, serverName: "a.wild.test"
                ).first
            }
            let client = try TLSClient(
                gateway, .init(serverName: "a.wild.test", version: version, resuming: ticket))
            #expect(isServed(client))
            let remains = gateway.onWorker { worker, _ in
                worker.connections.values.compactMap { ($0 as? DownstreamConnection).flatMap(Self.remains) }
            }
            #expect(remains?.isEmpty == false)
            for remains in remains ?? [] {
                #expect(remains.keys == (version == TLS1_3_VERSION ? [EVP_PKEY_NONE, EVP_PKEY_NONE] : []))
                // Resumed as TLS 1.2 has it, the name is the session's, which a ticket needs.
                if version == TLS1_3_VERSION || !isResumed { #expect(remains.name == nil) }
            }
        }
    }

    @Test func `each TLS 1.3 handshake brings one ticket, a resumed one too`() throws {
        try withTLS { gateway in
            var ticket: TLSTicket?
            for _ in 0..<4 {
                let tickets = try tickets(
                    of: gateway, version: TLS1_3_VERSION, resuming: ticket, isResumed: ticket != nil,
                    serverName: "a.wild.test")
                #expect(tickets.count == 1)
                ticket = tickets.first
            }
            #expect(gateway.counters.handshakesResumed.value == 3)
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func `a ticket of one worker is good at another, after a reload, and nowhere else`(version: CInt) throws {
        let keys = TicketKeys()
        var settings: ListenerSettings?
        try withTLS(ticketKeys: keys) { first in
            // One for each use: OpenSSL does not use a ticket of TLS 1.3 twice.
            let known = try (0..<3).map { _ in
                try #require(try tickets(of: first, version: version, isResumed: false).first)
            }
            try withTLS(ticketKeys: keys, listener: { settings = $0 }) { second in
                _ = try tickets(of: second, version: version, resuming: known[0], isResumed: true)
                // With other certificates, as after a renewal.
                var reloaded = try #require(settings)
                let renewed = try TestCertificates([["renewed.test"], ["first.test"]])
                reloaded.tls = try renewed.context()
                let new = reloaded
                _ = second.onWorker { worker, _ in worker.replaceListenerSettings([new]) }
                _ = try tickets(of: second, version: version, resuming: known[1], isResumed: true)
                #expect(second.counters.handshakesResumed.value == 2)
                let client = try TLSClient(second, .init(serverName: "first.test"))
                #expect(isServed(client) && client.certificateName == "first.test")
            }
            try withTLS { stranger in
                _ = try tickets(of: stranger, version: version, resuming: known[2], isResumed: false)
                #expect(stranger.counters.handshakesResumed.value == 0)
            }
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func `a ticket is good while its key is among those of the worker, and comes anew under the first`(
        version: CInt
    ) throws {
        let keys = (0..<3).map { _ in TicketKey.random() }
        try withTLS(ticketKeys: TicketKeys([keys[0]])) { gateway in
            func use(_ keys: [TicketKey]) { _ = gateway.onWorker { worker, _ in worker.use(TicketKeys(keys)) } }
            let known = try (0..<4).map { _ in
                try #require(try tickets(of: gateway, version: version, isResumed: false).first)
            }
            use([keys[1], keys[0]])
            let renewed = try #require(
                try tickets(of: gateway, version: version, resuming: known[0], isResumed: true).first)
            use([keys[2], keys[1], keys[0]])
            _ = try tickets(of: gateway, version: version, resuming: known[1], isResumed: true)
            use([keys[2], keys[1]])
            _ = try tickets(of: gateway, version: version, resuming: known[2], isResumed: false)
            // The one that came with a resumption was made with the key that was first then.
            _ = try tickets(of: gateway, version: version, resuming: renewed, isResumed: true)
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [16, 40, 60, 100])
    func `a ticket that was changed anywhere is not read`(version: CInt, offset: Int) throws {
        try withTLS { gateway in
            let known = try #require(try tickets(of: gateway, version: version, isResumed: false).first)
            let changed = try #require(known.changed(at: offset))
            _ = try tickets(of: gateway, version: version, resuming: changed, isResumed: false)
        }
    }

    // MARK: Hosts with rules of their own

    @Test(
        arguments: [
            ("strict.wild.test", true), ("STRICT.Wild.test.", true), ("a.strict.wild.test", false),
            ("x.deep.test", true), ("y.x.deep.test", true), ("deep.test", false), (".deep.test", false),
            ("xstrict.wild.test", false), ("second.test", false), (nil, false),
        ] as [(String?, Bool)])
    func `the rules of a connection are those of the name that its client asks for`(
        name: (asked: String?, isStrict: Bool)
    ) throws {
        let hosts = TLSHosts(names: ["strict.wild.test", "*.deep.test"], rules: TLSRules(profile: .modern))
        let context = try certificates.context(hosts: [hosts])
        #expect(context.policies.count == 2 && !(context.policies[0] == context.policies[1]))
        try withTLS(context) { gateway in
            let old = try TLSClient(gateway, .init(serverName: name.asked, version: TLS1_2_VERSION))
            #expect(isServed(old) == !name.isStrict)
            let new = try TLSClient(gateway, .init(serverName: name.asked))
            #expect(isServed(new) && new.version == TLS1_3_VERSION)
            let numbers = gateway.onWorker { worker, _ in
                worker.connections.values.compactMap { connection in
                    context.policies.firstIndex { $0 == connection.handshake?.policy ?? context.policies[0] }
                }
            }
            #expect(numbers?.contains(name.isStrict ? 1 : 0) == true)
        }
    }

    @Test func `a host may be laxer than its listener`() throws {
        let hosts = TLSHosts(names: ["second.test"], rules: TLSRules())
        try withTLS(try certificates.context(profile: .modern, hosts: [hosts])) { gateway in
            let lax = try TLSClient(gateway, .init(serverName: "second.test", version: TLS1_2_VERSION))
            #expect(isServed(lax) && lax.certificateName == "second.test")
            #expect(!(try TLSClient(gateway, .init(serverName: "first.test", version: TLS1_2_VERSION)).handshake()))
        }
    }

    @Test func `a session that began under one host's rules does not go on under another's`() throws {
        let hosts = TLSHosts(names: ["second.test"], rules: TLSRules(profile: .modern))
        try withTLS(try certificates.context(hosts: [hosts])) { gateway in
            func tickets(_ name: String, _ ticket: TLSTicket? = nil, isResumed: Bool) throws -> [TLSTicket] {
                try self.tickets(
                    of: gateway, version: TLS1_3_VERSION, resuming: ticket, isResumed: isResumed, serverName: name)
            }
            let lax = try #require(try tickets("first.test", isResumed: false).first)
            let other = try #require(try tickets("first.test", isResumed: false).first)
            let strict = try #require(try tickets("second.test", isResumed: false).first)
            let again = try #require(try tickets("second.test", isResumed: false).first)
            _ = try tickets("second.test", lax, isResumed: false)
            _ = try tickets("first.test", strict, isResumed: false)
            // Under the same rules it does, for another name too.
            _ = try tickets("third.test", other, isResumed: true)
            _ = try tickets("SECOND.test.", again, isResumed: true)
        }
    }

    @Test func `with a reload the connections end whose rules are gone, and no others`() throws {
        var settings: ListenerSettings?
        let strict = TLSHosts(names: ["second.test"], rules: TLSRules(profile: .modern))
        try withTLS(try certificates.context(hosts: [strict]), listener: { settings = $0 }) { gateway in
            let kept = try TLSClient(gateway, .init(serverName: "first.test"))
            let gone = try TLSClient(gateway, .init(serverName: "second.test"))
            #expect(isServed(kept) && isServed(gone))
            var reloaded = try #require(settings)
            reloaded.tls = try certificates.context()
            let new = reloaded
            _ = gateway.onWorker { worker, _ in worker.replaceListenerSettings([new]) }
            settings = nil
            #expect(gone.readToEnd().text.isEmpty)
            kept.send(get("/"))
            #expect(kept.readAnswer().hasPrefix("HTTP/1.1 200"))
        }
    }

    @Test func `a connection keeps its TLS over a reload, and the next one has the new certificate`() throws {
        var settings: ListenerSettings?
        try withTLS(listener: { settings = $0 }) { gateway in
            let old = try TLSClient(gateway)
            #expect(isServed(old))
            var reloaded = try #require(settings)
            reloaded.tls = try TestCertificates([["renewed.test"]]).context()
            let new = reloaded
            _ = gateway.onWorker { worker, _ in worker.replaceListenerSettings([new]) }
            settings = nil
            old.send(get("/"))
            #expect(old.readAnswer().hasPrefix("HTTP/1.1 200"))
            let next = try TLSClient(gateway)
            #expect(isServed(next) && next.certificateName == "renewed.test")
        }
    }

    // MARK: Clients that misbehave

    @Test(arguments: [0, 1, 5, 6, 100, Int.max])
    func `a handshake that is not finished in time is closed, whatever part of it came`(count: Int) throws {
        try withTLS(listener: { $0.handshakeTimeout = Self.short }) { gateway in
            let client = try TLSClient(gateway)
            let hello = client.clientHello()
            client.peer.send(Array(hello.prefix(count)))
            // What the gateway says to a complete hello, and nothing behind it.
            #expect(client.peer.readToEnd().end != .silent)
            #expect(gateway.counters.handshakeFailures.value == 1)
            #expect(gateway.connectionCount == 0 && gateway.record.all.isEmpty)
        }
    }

    @Test func `a connection reads in large pieces only while a large body comes`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        let body = String(repeating: "x", count: 50_000)
        try withGateway(upstream, tls: try certificates.context()) { gateway in
            func readsLargePieces() -> Bool? {
                gateway.onWorker { worker, _ in
                    worker.connections.values.contains { ($0 as? DownstreamConnection)?.transport.expectsMuch == true }
                }
            }
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            for framing in ["Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n186a0\r\n"] {
                client.send("POST / HTTP/1.1\r\nHost: h\r\n" + framing + body)
                #expect(eventually { readsLargePieces() == true })
                client.send(body + (framing.hasPrefix("T") ? "\r\n0\r\n\r\n" : ""))
                #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"))
                #expect(eventually { readsLargePieces() == false })
            }
        }
    }

    @Test func `bytes that keep coming do not draw a handshake out`() throws {
        try withTLS(listener: { $0.handshakeTimeout = Self.short }) { gateway in
            let client = try TLSClient(gateway)
            var rest = client.clientHello()[...]
            // One byte in ten milliseconds would take seconds.
            #expect(rest.count > 200)
            while let byte = rest.popFirst(), gateway.counters.handshakeFailures.value == 0, client.peer.send([byte]) {
                _ = eventually(within: 10) { gateway.counters.handshakeFailures.value > 0 }
            }
            #expect(!rest.isEmpty)
            #expect(client.peer.sawEnd())
        }
    }

    @Test func `a head that does not come after the handshake has its own deadline`() throws {
        try withTLS(listener: { $0.headTimeout = Self.short }) { gateway in
            let silent = try TLSClient(gateway)
            #expect(silent.handshake())
            #expect(silent.readToEnd().text.isEmpty)
            let slow = try TLSClient(gateway)
            #expect(slow.handshake())
            slow.send("GET / HT")
            #expect(slow.readToEnd().text.hasPrefix("HTTP/1.1 408"))
        }
    }

    @Test(
        arguments: [
            Array(get("/").utf8), Array("GET / HTTP/1.1\r\n".utf8), [0], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            Array(repeating: 0, count: 5000), [22, 3, 1, 0, 0],
            [22, 3, 1, 0xFF, 0xFF] + Array(repeating: 1, count: 70_000),
            [22, 3, 1, 0, 4, 1, 0, 0, 0], [23, 3, 3, 0, 1, 0], [21, 3, 1, 0, 2, 2, 40], [20, 3, 3, 0, 1, 1],
            [0x80, 0x2E, 1, 3, 1] + Array(repeating: 0, count: 60), Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
            Array("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n".utf8),
        ] as [[UInt8]])
    func `what is no TLS is answered by no HTTP and closed`(bytes: [UInt8]) throws {
        try withTLS(listener: { $0.handshakeTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send(bytes)
            let (text, end) = client.readToEnd()
            #expect(end != .silent && !text.contains("HTTP"))
            #expect(gateway.record.all.isEmpty && gateway.counters.handshakeFailures.value == 1)
            try expectHealthy(gateway)
        }
    }

    @Test func `a hello in plain HTTP's port is a bad request and no more`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try TLSClient(gateway)
            #expect(!client.handshake())
            #expect(gateway.record.ends(1).first?.error?.step == "request.head")
            #expect(upstream.connectionCount == 0)
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func `a record that was changed on its way ends the connection, and its request goes nowhere`(version: CInt) throws
    {
        try withTLS { gateway in
            let client = try TLSClient(gateway, .init(version: version))
            #expect(isServed(client))
            var record = client.encrypt(get("/changed"))
            record[record.count / 2] ^= 1
            client.peer.send(record)
            #expect(client.peer.readToEnd().end != .silent)
            #expect(gateway.record.all.count == 1)
            try expectHealthy(gateway)
        }
    }

    @Test func `a record that comes a second time ends the connection`() throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            let record = client.encrypt(get("/"))
            client.send(bytes: record)
            #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"))
            client.send(bytes: record)
            #expect(client.peer.readToEnd().end != .silent)
            #expect(gateway.record.all.count == 1)
            try expectHealthy(gateway)
        }
    }

    @Test func `there is no second handshake within a TLS 1.2 connection`() throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway, .init(version: TLS1_2_VERSION))
            #expect(isServed(client))
            #expect(!client.renegotiate())
            #expect(gateway.record.all.count == 1)
            try expectHealthy(gateway)
        }
    }

    // MARK: Ends

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [true, false])
    func `a client that ends its direction still gets the answer, with close_notify or with FIN alone`(
        version: CInt, isNotified: Bool
    ) throws {
        let go = Gate()
        let upstream = try FakeUpstream { request in
            go.wait()
            return okResponse
        }
        try withGateway(upstream, tls: try certificates.context()) { gateway in
            let client = try TLSClient(gateway, .init(version: version))
            #expect(client.handshake())
            client.send(get("/"))
            if isNotified { client.closeNotify() } else { client.peer.halfClose() }
            letSee(gateway)
            go.open()
            #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"))
            let (rest, endsInOrder) = client.readToEnd()
            #expect(rest.isEmpty && endsInOrder)
            #expect(eventually { gateway.connectionCount == 0 })
            #expect(gateway.record.ends(1).map(\.status) == [200])
        }
    }

    @Test(arguments: [true, false])
    func `a body that ends before its length is not taken for a whole one`(isNotified: Bool) throws {
        let ends = Lines()
        let upstream = try FakeUpstream { peer, _ in
            let head = peer.read(until: "\r\n\r\n")
            let (text, end) = peer.readToEnd()
            ends.add("\(head.isEmpty) \(text) \(end)")
        }
        try withGateway(upstream, tls: try certificates.context()) { gateway in
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            #expect(eventually { upstream.connectionCount == 1 })
            if isNotified { client.closeNotify() } else { client.peer.halfClose() }
            #expect(
                gateway.record.ends(1).first?.error
                    == ExchangeError(side: .downstream, step: "request.body", status: 0))
            #expect(eventually { ends.all.count == 1 })
            #expect(ends.all.first?.contains("0\r\n\r\n") == false)
            #expect(!client.readToEnd().text.contains("HTTP"))
        }
    }

    @Test func `our end is told by close_notify`() throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            client.send(get("/", "Connection: close\r\n"))
            #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"))
            let (rest, endsInOrder) = client.readToEnd()
            #expect(rest.isEmpty && endsInOrder)
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [true, false])
    func `an idle connection ends with close_notify, when its time is over and when the gateway stops`(
        version: CInt, isDrain: Bool
    ) throws {
        try withTLS(listener: { $0.idleTimeout = isDrain ? $0.idleTimeout : Self.short }) { gateway in
            let client = try TLSClient(gateway, .init(version: version))
            #expect(isServed(client))
            let isDrained = isDrain ? gateway.drain() : nil
            let (rest, endsInOrder) = client.readToEnd()
            #expect(rest.isEmpty && endsInOrder)
            client.peer.close()
            #expect(eventually { gateway.connectionCount == 0 && isDrained?.isSet != false })
        }
    }

    @Test func `a connection that asks nothing ends with close_notify`() throws {
        try withTLS(listener: { $0.headTimeout = Self.short }) { gateway in
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            let (rest, endsInOrder) = client.readToEnd()
            #expect(rest.isEmpty && endsInOrder)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\n\r\nbeginning", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbeginning\r\n",
    ])
    func `an answer that is cut does not end with close_notify`(beginning: String) throws {
        let gates = [Gate(), Gate()]
        let upstream = try FakeUpstream { peer, index in
            _ = peer.readMessage()
            peer.send(beginning)
            gates[index].wait()
            peer.reset()
        }
        try withGateway(upstream, tls: try certificates.context()) { gateway in
            for (minor, go) in gates.enumerated() {
                let client = try TLSClient(gateway)
                #expect(client.handshake())
                client.send("GET / HTTP/1.\(minor)\r\nHost: a.test\r\n\r\n")
                #expect(client.read(until: "beginning").hasPrefix("HTTP/1.1 200"))
                go.open()
                #expect(!client.readToEnd().endsInOrder)
            }
        }
    }

    // MARK: Records

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func `every flight and record may come in two parts, whatever the offset`(version: CInt) throws {
        try withTLS { gateway in
            for offset in 1...50 {
                let client = try TLSClient(
                    gateway, .init(serverName: "second.test", version: version, cut: (offset, { letSee(gateway) })))
                #expect(isServed(client), "\(offset)")
                #expect(client.certificateName == "second.test")
                client.send(get("/again"))
                #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"), "\(offset)")
            }
            #expect(gateway.counters.handshakeFailures.value == 0)
        }
    }

    @Test func `a request of one byte in each record, and three requests in one record, are read as they are`() throws {
        try withTLS { gateway in
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            client.send(bytes: get("/").map { client.encrypt(String($0)) }.flatMap(\.self))
            #expect(client.readAnswer().hasPrefix("HTTP/1.1 200"))
            client.send(get("/1") + get("/2") + get("/3"))
            for _ in 0..<3 { #expect(client.readAnswer().hasPrefix("HTTP/1.1 200")) }
            #expect(gateway.record.ends(4).count == 4)
        }
    }

    @Test func `a body longer than any buffer passes whole, both ways`() throws {
        let size = 300_000
        let upstream = try FakeUpstream { request in
            "HTTP/1.1 200 OK\r\nContent-Length: \(request.body.utf8.count)\r\n\r\n\(request.body)"
        }
        try withGateway(upstream, tls: try certificates.context()) { gateway in
            let body = (0..<size / 10).map { String(1_000_000_000 + $0) }.joined()
            let client = try TLSClient(gateway)
            #expect(client.handshake())
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
            // In parts that are not those of records.
            let bytes = client.encrypt(body)
            for start in stride(from: 0, to: bytes.count, by: 7001) {
                client.peer.send(Array(bytes[start..<min(start + 7001, bytes.count)]))
            }
            #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200"))
            let answer = client.readToEnd()
            #expect(answer.text == body && answer.endsInOrder)
        }
    }
}
