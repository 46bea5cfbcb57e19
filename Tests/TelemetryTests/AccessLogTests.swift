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
        for number in 0..<1000 { log.submit(Array("line \(number)\n".utf8)) }
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
        log.submit(Array("before\n".utf8))
        while contents(path).isEmpty { usleep(1000) }
        let isMoved = unsafe rename(path, moved) == 0
        #expect(isMoved)
        log.reopen()
        while unsafe access(path, F_OK) != 0 { usleep(1000) }
        log.submit(Array("after\n".utf8))
        log.close()
        #expect(contents(moved) == "before\n")
        #expect(contents(path) == "after\n")
    }

    @Test func `lines after the close are counted as dropped`() throws {
        let path = temporaryPath()
        defer { _ = unsafe unlink(path) }
        let log = try AccessLog(path: path)
        log.close()
        log.submit(Array("one\ntwo\n".utf8))
        #expect(log.linesDropped.value == 2)
    }

    @Test func `a path that cannot be opened says which and why`() {
        #expect(throws: AccessLog.OpenError.self) { try AccessLog(path: "/nonexistent/access.log") }
    }
}
