import EventLoop
import Glibc
import Synchronization
import Telemetry
import TestSupport

@testable import ProxyCore

/// A folder for bodies, and how they are buffered in a test.
final class Spool: Sendable {
    let path: String
    let files = BodyFiles()
    private let memory: Int
    private let file: Int
    private let all: Int
    private let folder: BodyFolder

    init(memory: Int = 65_536, file: Int = 1 << 30, all: Int = 1 << 30) throws {
        self.memory = memory
        self.file = file
        self.all = all
        path = "/tmp/auth-gateway-bodies-\(UInt64.random(in: .min ... .max))"
        // A path is read for the length of the call.
        guard unsafe mkdir(path, 0o700) == 0 else { throw Peer.Problem("mkdir \(path)") }
        folder = try BodyFolder(path)
    }

    deinit { remove() }

    var buffering: BodyBuffering {
        BodyBuffering(
            memoryBytesMax: memory, fileBytesMax: file, allFilesBytesMax: all, folder: folder, files: files)
    }

    /// No file can be made from now on.
    func remove() { _ = unsafe rmdir(path) }

    /// Empties each file that is open in the folder, as a disk that loses what it was given would.
    func loseFiles() -> Int {
        var lost = 0
        for number in 3..<20_000 {
            let link = "/proc/self/fd/\(number)"
            var target = [CChar](repeating: 0, count: 4096)
            // Room for one byte less, so that the text ends in NUL.
            guard unsafe readlink(link, &target, 4095) > 0 else { continue }
            let name = String(decoding: target.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard name.hasPrefix(path + "/"), unsafe truncate(link, 0) == 0 else { continue }
            lost += 1
        }
        return lost
    }

    /// Whether every file gives its room back.
    func isGivenBack() -> Bool { eventually { files.bytesHeld == 0 } }
}

/// Text of which each part can be told from each other one.
func text(_ count: Int) -> String {
    var text = ""
    text.reserveCapacity(count + 16)
    var number = 0
    while text.utf8.count < count {
        text += "\(number),"
        number += 1
    }
    return String(text.prefix(count))
}

/// A body in chunks of as many bytes.
func chunked(_ body: String, by size: Int, trailers: String = "") -> String {
    var message = ""
    var rest = Substring(body)
    while !rest.isEmpty {
        let part = rest.prefix(size)
        rest = rest.dropFirst(size)
        message += "\(String(part.utf8.count, radix: 16))\r\n\(part)\r\n"
    }
    return message + "0\r\n\(trailers)\r\n"
}

/// Something that another thread fills in.
final class Shared<Value: Sendable>: Sendable {
    private let state: Mutex<Value>

    init(_ value: Value) { state = Mutex(value) }

    var value: Value { state.withLock { $0 } }

    func update(_ body: (inout Value) -> Void) {
        state.withLock { value in
            var copy = value
            body(&copy)
            value = copy
        }
    }
}
