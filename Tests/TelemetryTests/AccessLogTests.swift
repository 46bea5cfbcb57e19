import Glibc
import Testing

@testable import Telemetry

@Suite struct AccessLogTests {
    private func temporaryPath() -> String { "/tmp/access-log-test-\(getpid())-\(UInt64.random(in: 0 ... .max))" }

    private func contents(_ path: String) -> String {
        guard let file = unsafe fopen(path, "r") else { return "" }
        defer { unsafe fclose(file) }
        var text: [UInt8] = []
        while true {
            let byte = unsafe getc(file)
            if byte == EOF { break }
            text.append(UInt8(byte))
        }
        return String(decoding: text, as: UTF8.self)
    }

    @Test func `writes every line, in order, before it closes`() throws {
        let path = temporaryPath()
        defer { _ = unsafe unlink(path) }
        let log = try AccessLog(path: path)
        for number in 0..<1000 { log.submit(Array("line \(number)\n".utf8).span) }
        log.close()
        #expect(contents(path) == (0..<1000).map { "line \($0)\n" }.joined())
        #expect(log.linesDropped.value == 0)
    }

    @Test func `after a reopen the file of that name gets the lines`() throws {
        let path = temporaryPath()
        let moved = path + ".1"
        defer {
            _ = unsafe unlink(path)
            _ = unsafe unlink(moved)
        }
        let log = try AccessLog(path: path)
        log.submit(Array("before\n".utf8).span)
        while contents(path).isEmpty { usleep(1000) }
        let isMoved = unsafe rename(path, moved) == 0
        #expect(isMoved)
        log.reopen()
        while unsafe access(path, F_OK) != 0 { usleep(1000) }
        log.submit(Array("after\n".utf8).span)
        log.close()
        #expect(contents(moved) == "before\n")
        #expect(contents(path) == "after\n")
    }

    @Test func `lines after the close are counted as dropped`() throws {
        let path = temporaryPath()
        defer { _ = unsafe unlink(path) }
        let log = try AccessLog(path: path)
        log.close()
        log.submit(Array("one\ntwo\n".utf8).span)
        #expect(log.linesDropped.value == 2)
    }

    @Test func `lines of several threads stay whole, whatever the pauses between them`() async throws {
        let path = temporaryPath()
        defer { _ = unsafe unlink(path) }
        let log = try AccessLog(path: path)
        await withTaskGroup { group in
            for writer in 0..<4 {
                group.addTask {
                    for number in 0..<500 {
                        log.submit(Array("\(writer) \(number)\n".utf8).span)
                        // Longer than the thread gathers, so that it falls asleep now and then.
                        if number % 100 == 0 { try? await Task.sleep(for: .milliseconds(7)) }
                    }
                }
            }
        }
        log.close()
        let lines = contents(path).split(separator: "\n")
        #expect(lines.count == 2000)
        for writer in 0..<4 {
            #expect(lines.filter { $0.hasPrefix("\(writer) ") } == (0..<500).map { "\(writer) \($0)" })
        }
    }

    @Test func `what the destination does not take is bounded, and counted`() throws {
        // A pipe that nobody reads is full at once.
        let path = temporaryPath()
        defer { _ = unsafe unlink(path) }
        let isMade = unsafe mkfifo(path, 0o600) == 0
        #expect(isMade)
        let reader = unsafe open(path, O_RDONLY | O_NONBLOCK)
        let log = try AccessLog(path: path)
        let line = [UInt8](repeating: UInt8(ascii: "x"), count: 99_999) + [UInt8(ascii: "\n")]
        for _ in 0..<200 { log.submit(line.span) }
        #expect(log.linesDropped.value > 0)
        #expect(log.linesDropped.value <= 200)
        // Nobody reads: the end does not wait for ever.
        let began = ContinuousClock.now
        log.close()
        #expect(ContinuousClock.now - began < .seconds(5))
        close(reader)
    }

    @Test func `a line that standard output takes in part stays, and the next one is a line of its own`() async {
        // In a process of its own, whose files may not grow beyond 25 bytes for a while.
        await #expect(processExitsWith: .success) {
            let path = "/tmp/access-log-test-\(getpid())"
            _ = signal(SIGXFSZ, SIG_IGN)
            // As a shell opens it for `>`: what is written goes to the place where the last write ended.
            let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
            _ = unsafe unlink(path)
            let fileSize = __rlimit_resource_t(1)
            var limit = rlimit()
            guard unsafe getrlimit(fileSize, &limit) == 0 else { exit(2) }
            let before = limit.rlim_cur
            limit.rlim_cur = 25
            guard unsafe setrlimit(fileSize, &limit) == 0 else { exit(3) }
            let log = try AccessLog(path: nil, descriptor: descriptor)
            log.submit(Array("0123456789\n0123456789\n0123456789\n".utf8).span)
            while log.linesDropped.value == 0 { usleep(1000) }
            limit.rlim_cur = before
            guard unsafe setrlimit(fileSize, &limit) == 0 else { exit(4) }
            log.submit(Array("after\n".utf8).span)
            let expected = Array("0123456789\n0123456789\n012\nafter\n".utf8)
            var found = [UInt8](repeating: 0, count: 100)
            // Room for as many bytes as it says.
            while unsafe pread(descriptor, &found, 100, 0) < expected.count { usleep(1000) }
            let count = unsafe pread(descriptor, &found, 100, 0)
            exit(Array(found.prefix(count)) == expected && log.linesDropped.value == 1 ? 0 : 1)
        }
    }

    @Test func `a path that cannot be opened says which and why`() {
        #expect(throws: AccessLog.OpenError.self) { try AccessLog(path: "/nonexistent/access.log") }
    }
}
