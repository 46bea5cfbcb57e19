import EventLoop
import Redis
import RedisTestSupport
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2))) struct RedisConnectionTests {
    @Test func `speaks over TCP and over a Unix socket`() async throws {
        let server = try RedisServer()
        for settings in [try server.overTCP, try server.overUnixSocket] {
            let client = try RedisClient(settings)
            defer { client.stop() }
            #expect(await client.send("PING") == .success(.status("PONG")))
            #expect(await client.send("SET", "k", "v\r\n\0") == .success(.status("OK")))
            #expect(await client.send("GET", "k") == .success(.bulk(Array("v\r\n\0".utf8))))
            #expect(await client.send("GET", "none") == .success(.null))
            #expect(await client.send("INCRBY", "n", "-3") != .success(.null))
            let large = String(repeating: "x", count: 900_000)
            #expect(await client.send("ECHO", large) == .success(.bulk(Array(large.utf8))))
        }
    }

    @Test func `an error reply is a failure with its code`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        _ = await client.send("SET", "text", "v")
        guard case .failure(.refused(let error)) = await client.send("HGET", "text", "f") else {
            Issue.record("no error")
            return
        }
        #expect(error.code == "WRONGTYPE")
        #expect("\(RedisError.refused(error))" == "refused: WRONGTYPE")
    }

    @Test func `10,000 commands under way are answered in their order`() async throws {
        let server = try RedisServer()
        var settings = try server.overTCP
        settings.pendingMax = 10_000
        let client = try RedisClient(settings)
        defer { client.stop() }
        await client.state { $0 == .ready }
        let numbers: [Int64] = await withCheckedContinuation { continuation in
            client.perform { loop, connection in
                var numbers: [Int64] = []
                let deadline = loop.now.advanced(byNanoseconds: 60_000_000_000)
                for _ in 0..<10_000 {
                    try? connection.send(RedisCommand(["INCR", "n"]), deadline: deadline) { reply in
                        if case .success(.integer(let number)) = reply { numbers.append(number) }
                        if numbers.count == 10_000 { continuation.resume(returning: numbers) }
                    }
                }
            }
        }
        #expect(numbers == Array(1...10_000))
    }

    @Test func `one command more than the queue holds fails at once, and only that one`() async throws {
        let server = try RedisServer()
        var settings = try server.overUnixSocket
        settings.pendingMax = 3
        let client = try RedisClient(settings)
        defer { client.stop() }
        await client.state { $0 == .ready }
        let results = await outcomes(of: 4, with: client)
        #expect(results == ["queueFull", "ok", "ok", "ok"])
        #expect(await client.send("PING") == .success(.status("PONG")))
    }

    @Test func `bytes that wait to be sent are bounded too`() async throws {
        let server = try RedisServer()
        var settings = try server.overUnixSocket
        settings.outputBytesMax = 3 * RedisConnectionTests.pingBytes
        let client = try RedisClient(settings)
        defer { client.stop() }
        await client.state { $0 == .ready }
        #expect(await outcomes(of: 4, with: client) == ["queueFull", "ok", "ok", "ok"])
    }

    // MARK: Greeting

    @Test func `gives the password, the user and the database before any command`() async throws {
        let server = try RedisServer("--requirepass", "sesame", "--user", "gate", "on", ">open", "~*", "&*", "+@all")
        var settings = try server.overTCP
        let without = try RedisClient(settings)
        defer { without.stop() }
        guard case .failure(.refused(let error)) = await without.send("PING") else {
            Issue.record("let in")
            return
        }
        #expect(error.code == "NOAUTH")

        settings.password = { Array("sesame".utf8) }
        settings.database = 3
        let byDefault = try RedisClient(settings)
        defer { byDefault.stop() }
        #expect(await byDefault.send("SET", "here", "1") == .success(.status("OK")))

        settings.username = "gate"
        settings.password = { Array("open".utf8) }
        let byUser = try RedisClient(settings)
        defer { byUser.stop() }
        #expect(await byUser.send("ACL", "WHOAMI") == .success(.bulk(Array("gate".utf8))))
        #expect(await byUser.send("GET", "here") == .success(.bulk([49])))
        #expect(await byUser.send("SELECT", "0") == .success(.status("OK")))
        #expect(await byUser.send("GET", "here") == .success(.null))
    }

    @Test func `a wrong password or database fails what waits, and sends none of it`() async throws {
        let server = try RedisServer("--requirepass", "sesame", "--databases", "4")
        let good = Array("sesame".utf8)
        for (password, database) in [(Array("wrong".utf8), 0), (good, 4)] {
            var settings = try server.overTCP
            settings.password = { password }
            settings.database = database
            settings.pauseMin = .seconds(60)
            let client = try RedisClient(settings)
            defer { client.stop() }
            let result = await client.send("SET", "k", "v")
            guard case .failure(let error) = result else {
                Issue.record("let in")
                continue
            }
            #expect("\(error)".contains("refused: \(database == 0 ? "WRONGPASS" : "ERR")"))
            await client.state { $0.isWaiting }
            guard case .failure(.notConnected) = await client.send("PING") else {
                Issue.record("a command was taken although nothing is connected")
                continue
            }
        }
        var settings = try server.overTCP
        settings.password = { good }
        let client = try RedisClient(settings)
        defer { client.stop() }
        #expect(await client.send("GET", "k") == .success(.null))
    }

    // MARK: A server that is away, slow or wrong

    @Test func `a server that is not there is a failure, and is found when it comes`() async throws {
        let server = try RedisServer()
        server.stop()
        // A path of its own: a port could be taken by another server meanwhile.
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        await client.state { $0.isWaiting }
        guard case .failure(let error) = await client.send("PING") else {
            Issue.record("an answer from nobody")
            return
        }
        #expect("\(error)".contains("refused") || "\(error)".contains("No such file"), "\(error)")
        try server.start()
        await client.state { $0 == .ready }
        #expect(await client.send("PING") == .success(.status("PONG")))
    }

    @Test func `the next address is tried without a pause`() async throws {
        let server = try RedisServer()
        let closed = try #require(RedisAddress(ip: "127.0.0.1", port: FakeServer.freePort()))
        let absent = try #require(RedisAddress(unixPath: "/nonexistent/redis.sock"))
        var settings = try server.overTCP
        settings.addresses = [closed, absent] + settings.addresses
        settings.pauseMin = .seconds(60)
        settings.pauseMax = .seconds(60)
        let client = try RedisClient(settings)
        defer { client.stop() }
        await client.state { $0 == .ready }
        #expect(await client.send("PING") == .success(.status("PONG")))
    }

    @Test func `without any address it waits, and says so`() async throws {
        let client = try RedisClient(RedisSettings(addresses: []))
        defer { client.stop() }
        await client.state { $0 == .waiting(reason: "no address") }
        guard case .failure(.notConnected(reason: "no address")) = await client.send("PING") else {
            Issue.record("a command was taken")
            return
        }
    }

    @Test func `a restart fails what was under way, once, and never sends it again`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overTCP)
        defer { client.stop() }
        await client.state { $0 == .ready }
        let blocked = client.begin(["BLPOP", "list", "0"], timeout: 100_000)
        _ = await client.send("PING", timeout: 50)
        server.stop()
        guard case .failure(.connectionLost) = await blocked.value else {
            Issue.record("an answer from a dead server")
            return
        }
        try server.start()
        await client.state { $0 == .ready }
        #expect(await client.send("PING") == .success(.status("PONG")))
        let statistics = await client.send("INFO", "commandstats")
        guard case .success(.bulk(let text)) = statistics else {
            Issue.record("no statistics")
            return
        }
        #expect(!String(decoding: text, as: UTF8.self).contains("blpop"))
    }

    @Test func `a slow server costs the deadline, and its late answers are given to nobody else`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overTCP)
        defer { client.stop() }
        let other = try RedisClient(server.overTCP)
        defer { other.stop() }
        #expect(await other.send("CLIENT", "PAUSE", "100000", "WRITE") == .success(.status("OK")))
        #expect(await client.send("INCR", "n", timeout: 40) == .failure(.deadlinePassed))
        #expect(await client.send("INCR", "n", timeout: 40) == .failure(.deadlinePassed))
        let third = client.begin(["ECHO", "third"])
        #expect(await other.send("CLIENT", "UNPAUSE") == .success(.status("OK")))
        #expect(await third.value == .success(.bulk(Array("third".utf8))))
        #expect(await client.send("GET", "n") == .success(.bulk(Array("2".utf8))))
    }

    @Test func `a server that never answers is given up, also while it greets`() async throws {
        let server = try FakeServer { $0.readToEnd() }
        var settings = server.settings
        settings.stallTimeout = .milliseconds(100)
        settings.pauseMin = .seconds(60)
        settings.pauseMax = .seconds(60)
        let client = try RedisClient(settings)
        #expect(await client.send("PING") == .failure(.connectionLost(reason: "the server does not answer")))
        client.stop()

        settings.connectTimeout = .seconds(1)
        settings.password = { [1] }
        let greeting = try RedisClient(settings)
        let patient = greeting.begin(["PING"])
        #expect(await greeting.send("PING", timeout: 20) == .failure(.deadlinePassed))
        #expect(await patient.value == .failure(.connectionLost(reason: "no connection in time")))
        greeting.stop()
        server.stop()
    }

    @Test func `a replica that was promoted over is left, and found again`() async throws {
        let server = try RedisServer()
        let client = try RedisClient(server.overUnixSocket)
        defer { client.stop() }
        let other = try RedisClient(server.overUnixSocket)
        defer { other.stop() }
        let nobody = try FakeServer.freePort()
        #expect(await client.send("SET", "k", "1") == .success(.status("OK")))
        #expect(await other.send("REPLICAOF", "127.0.0.1", "\(nobody)") == .success(.status("OK")))
        guard case .failure(.refused(let error)) = await client.send("SET", "k", "2") else {
            Issue.record("written to a replica")
            return
        }
        #expect(error.code == "READONLY")
        #expect(await client.history().contains(.waiting(reason: "the server is a read-only replica")))
        #expect(await other.send("REPLICAOF", "NO", "ONE") == .success(.status("OK")))
        await client.state { $0 == .ready }
        #expect(await client.send("SET", "k", "3") == .success(.status("OK")))
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n\r\n", "\0\0\0\0", "$5\r\nabc", "*2147483647\r\n", "+PONG\r\n+AGAIN\r\n", "",
    ])
    func `garbage, half an answer or one too many ends the connection, and the next one works`(wire: String)
        async throws
    {
        let isFirst = Mutex(true)
        let attempts = SharedFlag(isFirst)
        let server = try FakeServer { peer in
            peer.read(atLeast: RedisConnectionTests.pingBytes)
            peer.write(attempts.take() ? wire : "+PONG\r\n")
            if wire != "$5\r\nabc", !wire.isEmpty { peer.readToEnd() }
        }
        let client = try RedisClient(server.settings)
        let first = await client.send("PING")
        if wire.hasPrefix("+PONG") {
            #expect(first == .success(.status("PONG")))
        } else {
            guard case .failure(.connectionLost) = first else {
                Issue.record("\(first)")
                return
            }
        }
        await client.state { $0 == .ready }
        #expect(await client.send("PING") == .success(.status("PONG")))
        #expect(await client.history().contains { $0.isWaiting })
        client.stop()
        server.stop()
    }

    @Test func `answers that come byte by byte are put together`() async throws {
        let server = try FakeServer { peer in
            peer.read(atLeast: RedisConnectionTests.pingBytes)
            peer.writeByteByByte("*3\r\n$5\r\nhello\r\n:-12\r\n*1\r\n$-1\r\n")
            peer.readToEnd()
        }
        let client = try RedisClient(server.settings)
        #expect(
            await client.send("PING")
                == .success(.array([.bulk(Array("hello".utf8)), .integer(-12), .array([.null])])))
        client.stop()
        server.stop()
    }

    @Test func `closing fails what waits, and what comes after`() async throws {
        let server = try FakeServer { $0.readToEnd() }
        let client = try RedisClient(server.settings)
        await client.state { $0 == .ready }
        let waiting = client.begin(["PING"])
        client.perform { _, connection in connection.close() }
        #expect(await waiting.value == .failure(.closed))
        #expect(await client.send("PING") == .failure(.closed))
        client.stop()
        server.stop()
    }

    // MARK: Helpers

    /// Sends commands in one turn; what was refused at once comes first.
    private func outcomes(of count: Int, with client: RedisClient) async -> [String] {
        await withCheckedContinuation { continuation in
            client.perform { loop, connection in
                var outcomes: [String] = []
                func note(_ outcome: String) {
                    outcomes.append(outcome)
                    if outcomes.count == count { continuation.resume(returning: outcomes) }
                }
                for _ in 0..<count {
                    do throws(RedisError) {
                        let deadline = loop.now.advanced(byNanoseconds: 10_000_000_000)
                        try connection.send(RedisCommand(["PING"]), deadline: deadline) { reply in
                            note(reply == .success(.status("PONG")) ? "ok" : "failed")
                        }
                    } catch {
                        note("\(error)" == "\(RedisError.queueFull)" ? "queueFull" : "failed")
                    }
                }
            }
        }
    }

    private static let pingBytes = 14
}

/// True for the first one who asks.
private final class SharedFlag: Sendable {
    private let flag: Mutex<Bool>

    init(_ flag: consuming Mutex<Bool>) { self.flag = flag }

    func take() -> Bool {
        flag.withLock { flag in
            defer { flag = false }
            return flag
        }
    }
}
