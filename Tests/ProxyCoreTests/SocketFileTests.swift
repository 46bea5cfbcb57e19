import EventLoop
import Glibc
import TestSupport
import Testing

@testable import ProxyCore

/// The file of a Unix socket: made closed, never taken from somebody who lives, and removed with its owner.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct SocketFileTests {
    private let path = "/tmp/socket-file-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"

    private func listen(mode: UInt32 = 0o600) throws -> ListeningSocket {
        try ListeningSocket(try #require(NetworkAddress(unixPath: path)), mode: mode)
    }

    private func look() -> stat? {
        var info = stat()
        // A local that outlives the call.
        return unsafe lstat(path, &info) == 0 ? info : nil
    }

    /// The error of an attempt to listen.
    private func refusal() -> CInt? {
        do {
            _ = try listen()
            return nil
        } catch { return (error as? SystemError)?.code }
    }

    /// Leaves the file behind that a process leaves when it is killed.
    private func leaveStale() throws {
        let number = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        let address = try #require(NetworkAddress(unixPath: path))
        let isBound = unsafe address.withSockaddr { unsafe bind(number, $0, $1) } == 0
        #expect(isBound)
        close(number)
    }

    @Test(arguments: [0o600, 0o660, 0o666, 0o777, 0o200] as [UInt32])
    func `the mode is the one that was asked for, and can be changed`(mode: UInt32) throws {
        let socket = try listen(mode: mode)
        #expect(look().map { $0.st_mode & 0o777 } == mode)
        socket.changeMode(to: 0o640)
        #expect(look().map { $0.st_mode & 0o777 } == 0o640)
    }

    @Test func `it goes with its owner`() throws {
        do {
            let socket = try listen()
            #expect(look() != nil)
            _ = socket.number
        }
        #expect(look() == nil)
    }

    @Test func `one that nobody listens at is replaced`() throws {
        try leaveStale()
        let stale = try #require(look())
        let socket = try listen()
        let fresh = try #require(look())
        #expect(stale.st_ino != fresh.st_ino || stale.st_ctim.tv_nsec != fresh.st_ctim.tv_nsec)
        #expect(throws: Never.self) { try Peer(unixPath: path) }
        _ = socket.number
    }

    @Test func `one that somebody listens at is left to them, also when their queue is full`() throws {
        let number = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        defer {
            close(number)
            _ = unsafe unlink(path)
        }
        let address = try #require(NetworkAddress(unixPath: path))
        let isBound = unsafe address.withSockaddr { unsafe bind(number, $0, $1) } == 0
        #expect(isBound && Glibc.listen(number, 0) == 0)
        let before = try #require(look())
        // The first attempt leaves a connection in the queue, which holds one.
        for _ in 0..<3 { #expect(refusal() == EADDRINUSE) }
        #expect(look()?.st_ino == before.st_ino)
    }

    @Test func `what is no socket is left alone`() throws {
        let file = unsafe open(path, O_CREAT | O_WRONLY, 0o600)
        close(file)
        #expect(refusal() == ENOTSOCK)
        #expect(look().map { $0.st_mode & S_IFMT } == S_IFREG)
        _ = unsafe unlink(path)
        // Not even through a link that leads to a stale one.
        try leaveStale()
        let target = path + "-target"
        #expect(unsafe rename(path, target) == 0)
        #expect(unsafe symlink(target, path) == 0)
        #expect(refusal() == ENOTSOCK)
        #expect(unsafe unlink(path) == 0)
        #expect(unsafe unlink(target) == 0)
    }

    @Test func `what has taken its place meanwhile is not removed, nor given another mode`() throws {
        do {
            let socket = try listen()
            #expect(unsafe unlink(path) == 0)
            try leaveStale()
            let mode = try #require(look()).st_mode
            socket.changeMode(to: 0o777)
            #expect(look()?.st_mode == mode)
        }
        #expect(look() != nil)
        #expect(unsafe unlink(path) == 0)
    }

    @Test func `a folder that is not there is an error`() throws {
        let address = try #require(NetworkAddress(unixPath: "/nonexistent/socket"))
        #expect(throws: SystemError.self) { _ = try ListeningSocket(address) }
    }
}
