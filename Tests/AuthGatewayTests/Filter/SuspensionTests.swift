import IdentityModel
import JOSE
import TestSupport
import Testing

@testable import AuthGateway

/// Requests that wait for their sessions: whose answer it is, what happens to clients that do not wait, and how many
/// may wait at one time.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct SuspensionTests {
    private func withGateway(_ body: (FilterGateway) throws -> Void) throws {
        let gateway = try FilterGateway()
        defer { gateway.stop() }
        try body(gateway)
    }

    /// Who the application was told each request is from, by the request's query.
    private func names(_ gateway: FilterGateway) -> [String: String] {
        var names: [String: String] = [:]
        for message in gateway.seen.all {
            let query = message.startLine.split(separator: " ")[1].split(separator: "?").last.map(String.init) ?? ""
            #expect(names.updateValue(message["x-auth-user"] ?? "nobody", forKey: query) == nil)
        }
        return names
    }

    @Test(arguments: [true, false])
    func `requests in one go with different credentials get each their own name`(mustWait: Bool) throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", username: "ann").field
            let bob = try gateway.signIn("B", username: "bob").field
            let token = try gateway.bearer([("sub", "carl")])
            let requests: [(fields: [String], name: String)] = [
                ([ann], "ann"), ([bob], "bob"), ([], "nobody"), ([token], "partner:carl"), ([bob], "bob"),
                ([ann], "ann"), ([token, ann], "partner:carl"), ([], "nobody"), ([ann], "ann"),
            ]
            if mustWait { gateway.sessions.hold() }
            let client = try Peer(port: gateway.port)
            client.send(
                requests.enumerated().map { FilterGateway.text("/optional?\($0.offset)", $0.element.fields) }.joined())
            if mustWait {
                #expect(eventually { gateway.sessions.heldCount == 1 })
                #expect(gateway.seenCount == 0)
                gateway.sessions.release()
            }
            for _ in requests { #expect(client.readMessage().status == 200) }
            let names = names(gateway)
            for (index, request) in requests.enumerated() { #expect(names["\(index)"] == request.name) }
            #expect(gateway.sessions.askedCount == 2)
        }
    }

    @Test func `a refusal between two requests leaves nothing of its own to the next`() throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", username: "ann", scopes: ["books:read"]).field
            let unknown = try FilterGateway.cookie("Z").field
            let client = try Peer(port: gateway.port)
            let requests = [
                FilterGateway.text("/books?0", [ann]), FilterGateway.text("/books?1", [unknown]),
                FilterGateway.text("/books?2"), FilterGateway.text("/optional?3"),
                FilterGateway.text("/books?4", ["Authorization: Bearer x", ann]), FilterGateway.text("/books?5", [ann]),
            ]
            client.send(requests.joined())
            let answers = requests.map { _ in client.readMessage() }
            #expect(answers.map(\.status) == [200, 401, 401, 200, 401, 200])
            let clears = answers.map { $0.values("set-cookie").contains { $0.contains("Max-Age=0") } }
            #expect(clears == [false, true, false, false, false, false])
            #expect(names(gateway) == ["0": "ann", "3": "nobody", "5": "ann"])
        }
    }

    @Test func `many clients at one time, with sessions asked for again and again, keep their own names`() throws {
        try withGateway { gateway in
            let letters = ["A", "B", "C", "D", "E"]
            let cookies = try letters.map { try gateway.signIn($0, username: "user-\($0)").field }
            var random = SeededGenerator(seed: 5)
            var expected: [String: String] = [:]
            var clients: [(peer: Peer, count: Int)] = []
            for client in 0..<12 {
                let peer = try Peer(port: gateway.port)
                var text = ""
                for request in 0..<25 {
                    let choice = Int.random(in: 0...letters.count, using: &random)
                    let query = "\(client)-\(request)"
                    expected[query] = choice < letters.count ? "user-" + letters[choice] : "nobody"
                    text += FilterGateway.text("/optional?" + query, choice < letters.count ? [cookies[choice]] : [])
                }
                peer.send(text)
                clients.append((peer, 25))
            }
            while gateway.seenCount < 200 { gateway.revocations.revokeAll() }
            for client in clients {
                for _ in 0..<client.count { #expect(client.peer.readMessage().status == 200) }
            }
            #expect(names(gateway) == expected)
            #expect(gateway.sessions.askedCount > letters.count)
        }
    }

    @Test(arguments: [true, false])
    func `a client that goes while its session is fetched leaves nothing, and its place serves another`(
        isReset: Bool
    ) throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", username: "ann", scopes: ["books:read"]).field
            let bob = try gateway.signIn("B", username: "bob", scopes: ["books:read"]).field
            gateway.sessions.hold()
            let gone = try (0..<20).map { index in
                let client = try Peer(port: gateway.port)
                client.send(FilterGateway.text("/books?gone-\(index)", [ann]))
                return client
            }
            #expect(eventually { gateway.sessions.heldCount == 20 })
            #expect(gateway.underWay == (20, 20))
            for client in gone { isReset ? client.reset() : client.close() }
            if isReset { #expect(eventually { gateway.underWay.connections == 0 }) }
            // The next one waits as well, in a place that one of the others had.
            let next = try Peer(port: gateway.port)
            next.send(FilterGateway.text("/books?next", [bob]))
            #expect(eventually { gateway.sessions.heldCount == 21 })
            gateway.sessions.release()
            #expect(next.readMessage().status == 200)
            next.close()
            #expect(eventually { gateway.underWay == (0, 0) })
            let names = names(gateway)
            #expect(names["next"] == "bob")
            #expect(names.filter { $0.value != "bob" }.allSatisfy { $0.key.hasPrefix("gone-") && $0.value == "ann" })
            if isReset { #expect(names.count == 1) }
        }
    }

    @Test func `a client that says that it will send no more still gets its answer`() throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", username: "ann", scopes: ["books:read"]).field
            gateway.sessions.hold()
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/books", [ann]))
            client.halfClose()
            #expect(eventually { gateway.sessions.heldCount == 1 })
            gateway.sessions.release()
            #expect(client.readMessage().status == 200)
            #expect(client.sawEnd())
        }
    }

    @Test func `so many look-ups and no more are under way, and one beyond is 503 that signs nobody out`() throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", scopes: ["books:read"]).field
            gateway.sessions.hold()
            let waiting = try (0..<GatewayFilter.sessionLookUpsMax).map { _ in
                let client = try Peer(port: gateway.port)
                client.send(FilterGateway.text("/books", [ann]))
                return client
            }
            #expect(eventually { gateway.sessions.heldCount == GatewayFilter.sessionLookUpsMax })
            let answer = try gateway.ask("/books", [ann])
            #expect(answer.status == 503)
            #expect(answer["retry-after"] != nil && answer["set-cookie"] == nil && answer["location"] == nil)
            // What needs no look-up goes on.
            #expect(try gateway.ask("/public", [ann]).status == 200)
            #expect(try gateway.ask("/books", [try gateway.bearer([("scope", "books:read")])]).status == 200)
            gateway.sessions.release()
            for client in waiting { #expect(client.readMessage().status == 200) }
            #expect(eventually { gateway.underWay.lookUps == 0 })
            #expect(try gateway.ask("/books", [ann]).status == 200)
        }
    }

    @Test func `a store that fails is asked again with the next request, and no failure is remembered`() throws {
        try withGateway { gateway in
            let ann = try gateway.signIn("A", scopes: ["books:read"]).field
            gateway.sessions.setAway(true)
            let client = try Peer(port: gateway.port)
            for _ in 0..<3 {
                client.send(FilterGateway.text("/books", [ann, "Accept: text/html"]))
                let answer = client.readMessage()
                #expect(answer.status == 503 && answer["set-cookie"] == nil && answer["location"] == nil)
            }
            gateway.sessions.setAway(false)
            client.send(FilterGateway.text("/books", [ann]))
            #expect(client.readMessage().status == 200)
            #expect(gateway.sessions.askedCount == 4 && gateway.seenCount == 1)
        }
    }

    @Test func `a session that ends during its fetch, and again during the next, is not brought back by either`() throws
    {
        try withGateway { gateway in
            let cookie = try gateway.signIn("A", scopes: ["books:read"])
            gateway.sessions.hold()
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/books", [cookie.field]))
            #expect(eventually { gateway.sessions.heldCount == 1 })
            // Something else's end: the answer, though right, is asked for once more.
            gateway.revocations.revoke(cookie.key)
            gateway.sessions.release(andHold: true)
            #expect(eventually { gateway.sessions.heldCount == 1 && gateway.sessions.askedCount == 2 })
            gateway.sessions.set(nil, for: cookie.key)
            gateway.revocations.revoke(cookie.key)
            gateway.sessions.release()
            let answer = client.readMessage()
            #expect(answer.status == 401)
            #expect(answer.values("set-cookie").contains { $0.contains("Max-Age=0") })
            #expect(gateway.sessions.askedCount == 3 && gateway.seenCount == 0)
            #expect(try gateway.ask("/books", [cookie.field]).status == 401)
        }
    }
}
