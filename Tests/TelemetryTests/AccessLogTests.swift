import Glibc
import Telemetry
import Testing

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

    @Test func `a path that cannot be opened says which and why`() {
        #expect(throws: AccessLog.OpenError.self) { try AccessLog(path: "/nonexistent/access.log") }
    }
}
