import Glibc
import Testing

@testable import Telemetry

@Suite struct EventLogTests {
    /// A pipe, closed at the end.
    private struct Pipe: ~Copyable {
        let reading: CInt
        let writing: CInt

        init() throws {
            var ends: [CInt] = [-1, -1]
            // The kernel writes both places.
            try #require(unsafe pipe(&ends) == 0)
            (reading, writing) = (ends[0], ends[1])
        }

        deinit {
            close(reading)
            close(writing)
        }

        /// Takes out all that waits.
        func drain() -> [UInt8] {
            _ = fcntl(reading, F_SETFL, O_NONBLOCK)
            var all: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 65_536)
            while true {
                // Room for as many bytes as it says.
                let count = unsafe read(reading, &chunk, chunk.count)
                guard count > 0 else { return all }
                all += chunk[..<count]
            }
        }
    }

    @Test func `events that nobody reads cost one wait together, and are written again once somebody does`() throws {
        let pipe = try Pipe()
        let output = EventOutput(descriptor: pipe.writing)
        let line = String(repeating: "x", count: 4095) + "\n"
        let began = ContinuousClock.now
        // 64 KiB fit into the pipe; what is lost beyond would be 20 s of waiting.
        for _ in 0..<216 {
            var line = line
            output.write(&line)
        }
        #expect(ContinuousClock.now - began < .seconds(5))
        #expect(pipe.drain().count == 65_536)
        var last = "read again\n"
        output.write(&last)
        #expect(pipe.drain() == Array(last.utf8))
    }
}
