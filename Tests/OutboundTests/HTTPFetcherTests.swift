import Glibc
import Outbound
import Testing

@Suite(.timeLimit(.minutes(1)))
struct HTTPFetcherTests {
    private let fetcher = HTTPFetcher(usesEnvironmentProxy: false)

    private func failure(_ url: String, limits: FetchLimits = FetchLimits()) async -> FetchError? {
        do {
            _ = try await fetcher.get(url, limits: limits)
            return nil
        } catch { return error }
    }

    @Test func `gives status, type and body`() async throws {
        let server = try LoopbackServer { _ in .ok(#"{"keys":[]}"#) }
        defer { server.stop() }
        let response = try await fetcher.get("\(server.origin)/jwks?a=b#fragment")
        #expect(
            response == FetchResponse(status: 200, contentType: "application/json", body: Array(#"{"keys":[]}"#.utf8)))
        let head = try #require(server.heads.first)
        #expect(head.hasPrefix("GET /jwks?a=b HTTP/1.1\r\n"))
        #expect(!head.lowercased().contains("accept-encoding"))
        #expect(!head.lowercased().contains("cookie"))
    }

    @Test(arguments: [404, 500, 503])
    func `R84 an error of the peer is a response with its status`(status: Int) async throws {
        let server = try LoopbackServer { _ in .init("HTTP/1.1 \(status) No\r\nContent-Length: 3\r\n\r\nno!") }
        defer { server.stop() }
        let response = try await fetcher.get(server.origin)
        #expect(response.status == status)
        #expect(response.body == Array("no!".utf8))
    }

    @Test func `R47 takes as many bytes as permitted and no more, announced or not`() async throws {
        let body = String(repeating: "x", count: 1000)
        let server = try LoopbackServer { head in
            if head.hasPrefix("GET /announced") { return .ok(body) }
            if head.hasPrefix("GET /chunked") {
                return .init("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E8\r\n\(body)\r\n0\r\n\r\n")
            }
            return .init("HTTP/1.1 200 OK\r\n\r\n\(body)")
        }
        defer { server.stop() }
        for path in ["announced", "chunked", "until-close"] {
            let url = "\(server.origin)/\(path)"
            #expect(try await fetcher.get(url, limits: FetchLimits(bytesMax: 1000)).body.count == 1000)
            #expect(await failure(url, limits: FetchLimits(bytesMax: 999)) == .tooLarge)
        }
    }

    @Test func `R47 an endless answer ends at the cap`() async throws {
        let server = try LoopbackServer { _ in
            var answer = LoopbackServer.Answer("HTTP/1.1 200 OK\r\n\r\n")
            answer.pieces += [[UInt8]](repeating: [UInt8](repeating: 0x20, count: 65536), count: 4096)
            return answer
        }
        defer { server.stop() }
        #expect(await failure(server.origin) == .tooLarge)
    }

    @Test func `R47 an endless head ends at its cap`() async throws {
        let server = try LoopbackServer { head in
            let count = head.hasPrefix("GET /fits") ? 60 : 70
            let field = "X-Padding: \(String(repeating: "x", count: 1011))\r\n"
            let head = String(repeating: field, count: count)
            return .init("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\(head)\r\n")
        }
        defer { server.stop() }
        #expect(await failure("\(server.origin)/fits") == nil)
        #expect(await failure(server.origin) == .tooLarge)
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"])
    func `R47 a silent peer ends at the deadline`(beginning: String) async throws {
        let server = try LoopbackServer { _ in .init(beginning, isHeldOpen: true) }
        defer { server.stop() }
        let start = ContinuousClock.now
        #expect(await failure(server.origin, limits: FetchLimits(deadline: .milliseconds(150))) == .timedOut)
        let duration = start.duration(to: .now)
        // libcurl counts whole milliseconds.
        #expect(duration >= .milliseconds(145))
        #expect(duration < .seconds(5))
    }

    @Test func `R47 redirects share one deadline`() async throws {
        let server = try LoopbackServer { head in
            head.hasPrefix("GET /a") ? .redirect("/b") : .init("", isHeldOpen: true)
        }
        defer { server.stop() }
        #expect(await failure("\(server.origin)/a", limits: FetchLimits(deadline: .milliseconds(150))) == .timedOut)
    }

    @Test(arguments: ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
    func `R48 nothing is inflated`(coding: String) async throws {
        // A gzip member that inflates to a megabyte of zeros would be about a kilobyte; its bytes come as they are.
        let body = "\u{1F}\u{8}not really compressed"
        let server = try LoopbackServer { _ in
            .init("HTTP/1.1 200 OK\r\nContent-Encoding: \(coding)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
        defer { server.stop() }
        #expect(try await fetcher.get(server.origin).body == Array(body.utf8))
    }

    @Test(arguments: [
        "", "\0\0\0", "garbage\r\n\r\n", "{\"keys\":[]}", "HTTP/9.9 200 OK\r\n\r\n", "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ])
    func `R84 an answer that is not whole HTTP is a failure`(answer: String) async throws {
        let server = try LoopbackServer { _ in .init(answer) }
        defer { server.stop() }
        guard case .failed = await failure(server.origin) else { return #expect(Bool(false), "\(answer)") }
    }

    @Test func `R84 nobody listening is an error that says so`() async throws {
        let server = try LoopbackServer { _ in .ok("") }
        server.stop()
        // The listening socket may take a moment to go; by then its port refuses.
        var error = await failure(server.origin)
        while error == nil { error = await failure(server.origin) }
        switch error {
        case .unreachable, .failed: break
        default: #expect(Bool(false), "\(String(describing: error))")
        }
    }

    @Test(arguments: [
        "", "/jwks", "jwks.json", "//host/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/x",
        "http://", "http:///x", "http://user@127.0.0.1/", "http://user:secret@127.0.0.1/", "http://127.0.0.1:99999/",
        "http://127.0.0.1/\r\nHost: evil", "http://127.0.0.1/a b", "http://127.0.0.1/\0", "javascript:alert(1)",
        "dict://127.0.0.1",
    ])
    func `what is no plain URL is not called`(url: String) async {
        #expect(await failure(url) == .invalidURL)
    }

    @Test(arguments: [301, 302, 303, 307, 308])
    func `redirects within the host are followed, three of them`(status: Int) async throws {
        let server = try LoopbackServer { head in
            let hop = head.dropFirst("GET /".count).first?.wholeNumberValue ?? 0
            return hop == 0 ? .ok("there") : .redirect("/\(hop - 1)", status: status)
        }
        defer { server.stop() }
        #expect(try await fetcher.get("\(server.origin)/3").body == Array("there".utf8))
        #expect(await failure("\(server.origin)/4") == .tooManyRedirects)
        #expect(await failure("\(server.origin)/1", limits: FetchLimits(redirectsMax: 0)) == .tooManyRedirects)
        #expect(server.heads.count == 4 + 4 + 1)
    }

    @Test func `R84 a redirect to another place is not followed`() async throws {
        let other = try LoopbackServer { _ in .ok("other") }
        let port = other.port
        let places = [
            "http://localhost:\(port)/", "http://127.0.0.1:\(port)/", "//127.0.0.1:\(port)/", "http://127.0.0.2/",
            "http://127.0.0.1.evil.invalid/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/_x",
            "http://user@127.0.0.1/", "http://evil@127.0.0.1:\(port)/",
        ]
        let server = try LoopbackServer { head in
            let index = Int(head.dropFirst("GET /".count).prefix { $0.isNumber }) ?? 0
            return .redirect(places[index])
        }
        defer { server.stop(); other.stop() }
        for index in places.indices {
            #expect(await failure("\(server.origin)/\(index)") == .redirectRefused, "\(places[index])")
        }
        #expect(other.heads.isEmpty)
    }

    @Test func `a full queue refuses at once, and its places come back`() async throws {
        let server = try LoopbackServer { head in head.hasPrefix("GET /held") ? .init("", isHeldOpen: true) : .ok("x") }
        defer { server.stop() }
        let small = HTTPFetcher(threads: 1, queueMax: 1, usesEnvironmentProxy: false)
        let url = "\(server.origin)/held"
        let running = Task { try await small.get(url) }
        await server.requests(1)
        // One of these waits, and the other finds no place.
        let (first, second) = (Task { try await small.get(url) }, Task { try await small.get(url) })
        let refused = await withTaskGroup(of: (Int, Bool).self) { group in
            for (index, task) in [first, second].enumerated() {
                group.addTask { (index, await task.result.isFailure(.queueFull)) }
            }
            let result = await group.next()
            for task in [first, second] { task.cancel() }
            return result
        }
        #expect(refused?.1 == true)
        // The cancelled one has left the queue: there is room for one again, and none for two.
        let waiting = Task { try await small.get("\(server.origin)/other") }
        running.cancel()
        #expect(await running.result.isFailure(.cancelled))
        #expect(try await waiting.value.status == 200)
    }

    @Test func `a cancelled call answers at once`() async throws {
        let server = try LoopbackServer { _ in .init("", isHeldOpen: true) }
        defer { server.stop() }
        let start = ContinuousClock.now
        let task = Task { try await fetcher.get(server.origin) }
        await server.requests(1)
        task.cancel()
        #expect(await task.result.isFailure(.cancelled))
        #expect(start.duration(to: .now) < .seconds(5))
        let before = Task { () async throws(FetchError) -> FetchResponse in
            // The task is the one that runs this closure.
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            return try await fetcher.get(server.origin)
        }
        #expect(await before.result.isFailure(.cancelled))
        #expect(server.heads.count == 1)
    }

    @Test func `many calls at once all get their own answers`() async throws {
        let server = try LoopbackServer { head in .ok(String(head.prefix { $0 != "\r\n" })) }
        defer { server.stop() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<60 {
                group.addTask {
                    let body = try await fetcher.get("\(server.origin)/\(number)").body
                    #expect(body == Array("GET /\(number) HTTP/1.1".utf8))
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func `a certificate is believed only from an authority that is trusted, and only for its name`() async throws
    {
        let server = try TLSServer()
        defer { withExtendedLifetime(server) {} }
        let url = "https://127.0.0.1:\(server.port)/"
        guard case .untrusted = await failure(url) else { return #expect(Bool(false)) }
        #expect(try await fetcher.get(url, caFile: server.certificate).status == 200)
        guard case .untrusted = await failure(url) else {
            return #expect(Bool(false), "the next call trusts as before")
        }
        do {
            _ = try await fetcher.get("https://localhost:\(server.port)/", caFile: server.certificate)
            #expect(Bool(false), "the certificate names no localhost")
        } catch {
            guard case .untrusted = error else { return #expect(Bool(false), "\(error)") }
        }
        do {
            _ = try await fetcher.get(url, caFile: "/nonexistent.pem")
            #expect(Bool(false), "the file of authorities is not there")
        } catch {
            guard case .untrusted = error else { return #expect(Bool(false), "\(error)") }
        }
    }

    @Test func `a peer that speaks no TLS is not trusted`() async throws {
        let server = try LoopbackServer { _ in .ok("plain") }
        defer { server.stop() }
        let error = await failure(
            "https://127.0.0.1:\(server.port)/", limits: FetchLimits(deadline: .milliseconds(500)))
        #expect(error != nil && error != .invalidURL)
    }
}

extension Result where Success == FetchResponse, Failure == any Error {
    func isFailure(_ error: FetchError) -> Bool {
        if case .failure(let failure as FetchError) = self { failure == error } else { false }
    }
}

extension Result where Success == FetchResponse, Failure == FetchError {
    func isFailure(_ error: FetchError) -> Bool { self == .failure(error) }
}
