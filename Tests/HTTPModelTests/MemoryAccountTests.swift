import Testing

@testable import HTTPModel

/// One account for the whole process: what other tests book meanwhile is small beside what is booked here.
@Suite(.serialized) struct MemoryAccountTests {
    private static let much = 1 << 30

    @Test func `a buffer's memory counts for as long as it has it`() {
        let before = MemoryAccount.bytesHeld
        do {
            var buffer = ByteBuffer(capacity: Self.much)
            #expect(MemoryAccount.bytesHeld - before > Self.much / 2)
            let moved = buffer.take()
            #expect(MemoryAccount.bytesHeld - before > Self.much / 2, "it is the same memory")
            buffer = moved
            buffer.release()
            #expect(MemoryAccount.bytesHeld - before < Self.much / 2)
            buffer.reserve(Self.much)
            #expect(MemoryAccount.bytesHeld - before > Self.much / 2)
        }
        #expect(MemoryAccount.bytesHeld - before < Self.much / 2)
    }

    @Test func `a pool's spare buffers count, too, until the pool goes`() {
        let before = MemoryAccount.bytesHeld
        do {
            let pool = ByteBufferPool(bufferCapacity: Self.much, spareMax: 1)
            pool.give(pool.take())
            #expect(MemoryAccount.bytesHeld - before > Self.much / 2)
            let one = pool.take()
            let other = pool.take()
            pool.removeSpare()
            #expect(MemoryAccount.bytesHeld - before > Self.much + Self.much / 2)
            pool.give(one)
            pool.give(other)
            #expect(MemoryAccount.bytesHeld - before < Self.much + Self.much / 2, "one more than it keeps")
        }
        #expect(MemoryAccount.bytesHeld - before < Self.much / 2)
    }

    /// Far above everything that others have booked.
    @Test func `memory is short beyond three quarters, very short beyond seven eighths, and used up beyond all`() {
        let most = 1 << 50
        let before = MemoryAccount.bytesMax
        MemoryAccount.bound(to: most)
        defer { MemoryAccount.bound(to: before) }
        let slack = 1 << 40
        for (held, state) in [
            (most * 3 / 4 - slack, [false, false, false]), (most * 3 / 4 + slack, [true, false, false]),
            (most * 7 / 8 - slack, [true, false, false]), (most * 7 / 8 + slack, [true, true, false]),
            (most - slack, [true, true, false]), (most + slack, [true, true, true]),
        ] {
            MemoryAccount.add(held)
            #expect([MemoryAccount.isShort, MemoryAccount.isVeryShort, MemoryAccount.isUsedUp] == state)
            MemoryAccount.add(-held)
        }
        #expect(!MemoryAccount.isShort)
    }
}
