import EventLoop
import Glibc
import HTTPModel
import Testing

@testable import ProxyCore

/// A transport on one end of a pair of sockets, and the other end.
private final class Pair {
    private(set) var transport: Transport
    let peer: Descriptor
    let pool = ByteBufferPool(bufferCapacity: 16_384, spareMax: 1)

    /// `sendBuffer`: what the kernel is told to keep, which it doubles.
    init(sendBuffer: CInt? = nil) throws {
        var ends: [CInt] = [0, 0]
        let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
        try #require(unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0)
        transport = Transport(Descriptor(adopting: ends[0]), tls: nil, wire: TLSWire())
        peer = Descriptor(adopting: ends[1])
        guard var sendBuffer else { return }
        let size = socklen_t(MemoryLayout<CInt>.size)
        try #require(unsafe setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &sendBuffer, size) == 0)
    }

    func hasRoom(for byteCount: Int) -> Bool { transport.hasRoom(for: byteCount) }

    var hasGathered: Bool { transport.hasGathered }
    var hasOutput: Bool { transport.hasOutput }

    func gather(_ bytes: [UInt8]) -> Bool { transport.gather(bytes.span, pool) }

    func sendGathered() -> Bool { transport.sendGathered(pool) }

    func write(_ bytes: [UInt8]) -> Bool { transport.write(bytes.span) }

    func end(_ endsOneDirection: Bool) {
        if endsOneDirection { transport.shutDownOutput() } else { transport.close() }
    }

    /// What has arrived, at most 64 KiB; `nil` when the direction has ended.
    func received() -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        // As many as the array holds.
        let count = unsafe recv(peer.number, &bytes, bytes.count, 0)
        if count == 0 { return nil }
        return Array(bytes.prefix(max(count, 0)))
    }
}

@Suite struct TransportTests {
    @Test func `what is gathered leaves when it is told to, in one piece`() throws {
        let pair = try Pair()
        #expect(pair.gather([1, 2]))
        #expect(pair.gather([3]))
        #expect(pair.hasGathered)
        #expect(pair.received() == [])
        #expect(pair.sendGathered())
        #expect(!pair.hasGathered && !pair.hasOutput)
        #expect(pair.received() == [1, 2, 3])
    }

    @Test func `what is written comes behind what was gathered`() throws {
        let pair = try Pair()
        #expect(pair.gather([1]))
        #expect(pair.write([2, 3]))
        #expect(!pair.hasGathered)
        #expect(pair.received() == [1, 2, 3])
    }

    @Test(arguments: [true, false]) func `what was gathered leaves before the end`(endsOneDirection: Bool) throws {
        let pair = try Pair()
        #expect(pair.gather([1]))
        pair.end(endsOneDirection)
        #expect(pair.received() == [1])
        #expect(pair.received() == nil)
    }

    @Test func `8 KiB are gathered and not a byte more`() throws {
        let pair = try Pair()
        #expect(!pair.gather(Array(repeating: 0, count: 8193)))
        #expect(pair.gather(Array(repeating: 0, count: 8000)))
        #expect(!pair.gather(Array(repeating: 0, count: 193)))
        #expect(pair.gather(Array(repeating: 0, count: 192)))
        #expect(pair.sendGathered())
        #expect(pair.received()?.count == 8192)
    }

    @Test func `nothing is gathered behind bytes that the socket has not taken`() throws {
        let pair = try Pair()
        let block = [UInt8](repeating: 7, count: 65_536)
        while !pair.hasOutput { #expect(pair.write(block)) }
        #expect(!pair.gather([1]))
    }

    @Test func `there is room for what the kernel takes at once, with a quarter for its own costs`() throws {
        let pair = try Pair(sendBuffer: 100_000)
        #expect(pair.hasRoom(for: 160_000) && !pair.hasRoom(for: 160_001))
        #expect(pair.write([UInt8](repeating: 7, count: 80_000)))
        #expect(!pair.hasOutput && pair.hasRoom(for: 1000) && !pair.hasRoom(for: 80_001))
        while pair.received()?.isEmpty == false {}
        #expect(pair.hasRoom(for: 160_000))
        while !pair.hasOutput { #expect(pair.write([UInt8](repeating: 7, count: 65_536))) }
        while pair.received()?.isEmpty == false {}
        // What waits here comes first.
        #expect(!pair.hasRoom(for: 1))
    }
}
