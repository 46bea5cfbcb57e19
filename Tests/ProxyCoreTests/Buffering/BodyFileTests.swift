import EventLoop
import Glibc
import HTTPModel
import TestSupport
import Testing

@testable import ProxyCore

/// Files of bodies: nobody else's, without names, within their bounds.
@Suite struct BodyFileTests {
    private func bytes(_ count: Int, _ first: Int = 0) -> [UInt8] {
        (first..<first + count).map { UInt8(truncatingIfNeeded: $0) }
    }

    private func read(_ file: BodyFile, _ count: Int, at offset: Int) -> [UInt8]? {
        var buffer = ByteBuffer()
        guard file.read(count, at: offset, into: &buffer) == 0 else { return nil }
        return buffer.withBytes { bytes in (0..<bytes.count).map { bytes[$0] } }
    }

    @Test func `what is written is read back, at any offset, and no more than that`() throws {
        let spool = try Spool()
        let file = BodyFile(in: try BodyFolder(spool.path), of: spool.files)
        #expect(file.write(bytes(1000).span, at: 0) == 0)
        #expect(file.write(bytes(500, 1000).span, at: 1000) == 0)
        #expect(read(file, 1500, at: 0) == bytes(1500))
        #expect(read(file, 1, at: 1499) == bytes(1, 1499))
        #expect(read(file, 2, at: 1499) == nil, "a part of what was asked for is nothing")
        #expect(file.write(bytes(10, 7).span, at: 0) == 0)
        #expect(read(file, 11, at: 0) == bytes(10, 7) + bytes(1, 10))
    }

    @Test func `room is counted once for each byte, and given back with the file`() throws {
        let spool = try Spool()
        let folder = try BodyFolder(spool.path)
        let first = BodyFile(in: folder, of: spool.files)
        #expect(first.reserve(upTo: 100, bytesMax: 100) && spool.files.bytesHeld == 100)
        #expect(first.reserve(upTo: 100, bytesMax: 100) && first.reserve(upTo: 50, bytesMax: 100))
        #expect(!first.reserve(upTo: 101, bytesMax: 100) && spool.files.bytesHeld == 100)
        do {
            let second = BodyFile(in: folder, of: spool.files)
            #expect(!second.reserve(upTo: 1, bytesMax: 100))
            #expect(second.reserve(upTo: 1, bytesMax: 101) && spool.files.bytesHeld == 101)
        }
        #expect(spool.files.bytesHeld == 100, "one that nobody holds any more")
        first.close()
        first.close()
        #expect(spool.files.bytesHeld == 0)
        #expect(first.write(bytes(1).span, at: 0) == EBADF && read(first, 1, at: 0) == nil)
    }

    @Test func `a folder that is none, or not ours, is refused with its name`() throws {
        let spool = try Spool()
        #expect(throws: SystemError.self) { try BodyFolder(spool.path + "/missing") }
        #expect(throws: SystemError.self) { try BodyFolder("/dev/null") }
        let own = "\(spool.path)/auth-gateway-\(geteuid())"
        // Each path is read for the length of its call.
        defer { _ = unsafe rmdir(own) }
        _ = try BodyFolder(ownBelow: spool.path)
        _ = try BodyFolder(ownBelow: spool.path)
        var status = stat()
        #expect(unsafe stat(own, &status) == 0 && status.st_mode & 0o777 == 0o700)
        for mode in [0o710, 0o701, 0o770] as [mode_t] {
            #expect(unsafe chmod(own, mode) == 0)
            #expect(throws: SystemError.self) { try BodyFolder(ownBelow: spool.path) }
        }
        #expect(unsafe rmdir(own) == 0 && symlink("/tmp", own) == 0)
        #expect(throws: SystemError.self) { try BodyFolder(ownBelow: spool.path) }
        #expect(unsafe unlink(own) == 0)
    }
}
