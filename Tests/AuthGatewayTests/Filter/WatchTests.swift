import IdentityModel
import TestSupport
import Testing

@testable import AuthGateway

/// Streams whose session has ended, or of which nobody can say whether it has.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct WatchTests {
    private static let short: UInt64 = 1_000_000_000
    private static let long: UInt64 = 600_000_000_000

    /// A stream of ann's that has begun.
    private func withStream(
        doubtMax: UInt64, _ body: (FilterGateway, Peer, (field: String, key: SessionKey)) throws -> Void
    ) throws {
        let gateway = try FilterGateway(doubtMax: doubtMax)
        defer { gateway.stop() }
        let ann = try gateway.signIn("A", username: "ann")
        let client = try Peer(port: gateway.port)
        client.send(FilterGateway.text("/stream", [ann.field]))
        #expect(client.read(until: "beginning").hasPrefix("HTTP/1.1 200"))
        try body(gateway, client, ann)
    }

    @Test func `a stream whose session the store cannot tell of is cut when the doubt has lasted`() throws {
        try withStream(doubtMax: Self.short) { gateway, client, ann in
            gateway.sessions.setAway(true)
            gateway.revocations.revoke(ann.key)
            #expect(client.readToEnd().end == .reset)
            #expect(gateway.sessions.askedCount > 2, "it was asked again meanwhile")
        }
    }

    @Test func `a store that never answers keeps a stream no longer than one that fails`() throws {
        try withStream(doubtMax: Self.short) { gateway, client, ann in
            gateway.sessions.hold()
            gateway.revocations.revoke(ann.key)
            #expect(client.readToEnd().end == .reset)
        }
    }

    @Test func `a stream goes on when the store is back in time, and doubts do not add up`() throws {
        // Each doubt lasts for two looks, a quarter of a second each; all of them last longer than one may.
        try withStream(doubtMax: 2 * Self.short) { gateway, client, ann in
            for _ in 0..<5 {
                let askedBefore = gateway.sessions.askedCount
                gateway.sessions.setAway(true)
                gateway.revocations.revoke(ann.key)
                #expect(eventually { gateway.sessions.askedCount >= askedBefore + 2 })
                gateway.sessions.setAway(false)
                let askedAway = gateway.sessions.askedCount
                #expect(eventually { gateway.sessions.askedCount > askedAway && gateway.underWay.lookUps == 0 })
            }
            #expect(gateway.underWay.connections == 1)
        }
    }

    // MARK: The whole request

    private func withWatch(_ body: (FilterGateway) throws -> Void) throws {
        let gateway = try FilterGateway(doubtMax: Self.long)
        defer { gateway.stop() }
        try body(gateway)
    }

    @Test func `an answer that takes longer than the whole request may is a 504, and the connection goes on`() throws {
        try withWatch { gateway in
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/quick?silent"))
            #expect(client.readMessage().status == 504)
            client.send(FilterGateway.text("/quick"))
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `a body that takes longer is a 408`() throws {
        try withWatch { gateway in
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/quick", ["Content-Length: 10"], method: "POST") + "abc")
            #expect(client.readMessage().status == 408)
            #expect(client.sawEnd())
        }
    }

    @Test func `an answer without an end is cut`() throws {
        try withWatch { gateway in
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/quick?endless"))
            #expect(client.read(until: "beginning").hasPrefix("HTTP/1.1 200"))
            #expect(client.readToEnd().end == .reset)
        }
    }

    @Test func `the time of one request is not that of the next, nor of a head that is not complete`() throws {
        try withWatch { gateway in
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/quick"))
            #expect(client.readMessage().status == 200)
            let ann = try gateway.signIn("A").field
            client.send("GET /optional HTTP/1.1\r\nHost: app.example.test\r\n")
            // Two looks, and the time of the first request is long over.
            _ = eventually(within: 800) { false }
            client.send(ann + "\r\n\r\n")
            #expect(client.readMessage().status == 200)
            gateway.sessions.hold()
            gateway.revocations.revokeAll()
            client.send(FilterGateway.text("/optional", [ann]))
            _ = eventually(within: 800) { false }
            gateway.sessions.release()
            #expect(client.readMessage().status == 200)
        }
    }

    @Test(arguments: [
        ("text/event-stream", true), ("Text/Event-Stream; charset=utf-8", true), ("text/event-stream ;a", true),
        ("text/event-streams", false), ("text/event-strea", false), ("text/html", false), ("", false),
        ("text\u{0F}event-stream", false),
    ])
    func `a media type is known by its name, in any case`(value: String, isOne: Bool) {
        let found = Array(value.utf8).span.holdsMediaType("text/event-stream")
        #expect(found == isOne)
    }

    @Test func `a stream of a session that has ended is cut whatever the doubt may last`() throws {
        try withStream(doubtMax: Self.long) { gateway, client, ann in
            gateway.sessions.set(nil, for: ann.key)
            gateway.revocations.revoke(ann.key)
            #expect(client.readToEnd().end == .reset)
        }
    }
}
