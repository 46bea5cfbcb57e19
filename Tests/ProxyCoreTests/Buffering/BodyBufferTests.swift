import HTTPModel
import Testing

@testable import ProxyCore

/// Every byte comes out once and in order, whatever is in memory and whatever in the file.
@Suite(.timeLimit(.minutes(1)))
struct BodyBufferTests {
    private static let piece = BodyBuffer.writeMin

    @Test func `what fits into memory asks for no file`() {
        let body = Driver(memory: 10_000, file: 1 << 30)
        body.append(10_000)
        #expect(body.frontCount == 10_000 && body.work == .none)
        #expect(body.takeAll() && body.isEmpty)
    }

    @Test func `what does not fit waits behind until it is worth a visit to the file`() {
        let body = Driver(memory: 10_000, file: 1 << 30)
        body.append(10_000 + Self.piece - 1)
        #expect(body.frontCount == 10_000 && body.work == .none && body.takesMore)
        body.append(1)
        #expect(body.work == .write(offset: 0, byteCount: Self.piece))
        body.moveAll()
        #expect(body.takeAll() && body.isEmpty)
    }

    @Test func `a part that never reached the file follows what was in memory`() {
        let body = Driver(memory: 10, file: 1 << 30)
        body.append(25)
        #expect(body.frontCount == 10)
        body.consume(10)
        #expect(body.frontCount == 15)
        body.append(4)
        #expect(body.takeAll() && body.isEmpty)
    }

    @Test func `while a piece is written nothing more is wanted, and what comes all the same keeps its place`() {
        let body = Driver(memory: 0, file: 1 << 30)
        body.append(1)
        body.append(Self.piece)
        body.begin()
        #expect(!body.takesMore && body.isBusy && body.work == .none)
        body.append(7)
        body.consume(1)
        #expect(body.frontCount == 0 && !body.isDrained, "the piece is neither here nor there")
        body.end()
        #expect(body.takesMore)
        #expect(body.takeAll() && body.isEmpty)
    }

    /// The file's bound is met exactly, and not by one byte more.
    @Test(arguments: [(0, true), (1, false)])
    func `the file takes no byte more than it may`(excess: Int, isWritten: Bool) {
        let body = Driver(memory: 100, file: Self.piece)
        body.append(100 + Self.piece + excess)
        #expect((body.work != .none) == isWritten)
        body.moveAll()
        #expect(!body.takesMore, "neither memory nor the file has room")
        #expect(body.takeAll() && body.isEmpty && body.takesMore)
    }

    @Test func `without a file memory is all there is`() {
        let body = Driver(memory: 100, file: 0)
        body.append(99)
        #expect(body.takesMore)
        body.append(1)
        #expect(!body.takesMore)
        body.append(Self.piece)
        #expect(body.work == .none)
        body.consume(1)
        #expect(!body.takesMore, "what came in spite of that stands before what would come")
        #expect(body.takeAll() && body.isEmpty && body.takesMore)
    }

    @Test func `a file that is used up begins anew`() {
        let body = Driver(memory: 10, file: Self.piece)
        for _ in 0..<5 {
            body.append(10 + Self.piece)
            #expect(body.work == .write(offset: 0, byteCount: Self.piece))
            body.moveAll()
            #expect(!body.takesMore)
            #expect(body.takeAll() && body.isEmpty)
        }
    }

    @Test func `what could not be written stays in its place, and the file is left alone until all has gone on`() {
        let body = Driver(memory: 10, file: 1 << 30)
        body.append(10 + Self.piece)
        body.moveAll()
        body.append(Self.piece)
        body.begin()
        body.append(5)
        body.fail()
        #expect(body.work == .none && !body.takesMore)
        body.consume(10)
        #expect(body.work == .read(offset: 0, byteCount: Self.piece), "what is there is still read")
        #expect(body.takeAll() && body.isEmpty && body.takesMore)
        body.append(10 + Self.piece)
        #expect(body.work == .write(offset: 0, byteCount: Self.piece))
    }

    @Test func `a long file is read back piece by piece`() {
        let body = Driver(memory: 10, file: 1 << 30)
        body.append(10)
        for _ in 0..<3 {
            body.append(50_000)
            body.moveAll()
        }
        body.consume(10)
        #expect(body.work == .read(offset: 0, byteCount: BodyBuffer.pieceBytesMax))
        #expect(body.takeAll() && body.isEmpty)
    }

    /// Parts of every size, pieces that take their time, disks that fail: against a queue that knows nothing of files.
    @Test(arguments: 0..<24)
    func `agrees with a plain queue, within its bounds`(seed: UInt64) {
        var chance = SplitMix(seed: seed)
        let memory = [0, 1, 5_000, 65_536, 200_000][Int(seed % 5)]
        let file = [0, 40_000, 300_000, 1 << 30][Int(seed / 5 % 4)]
        let body = Driver(memory: memory, file: file)
        for _ in 0..<250 {
            switch Int.random(in: 0..<10, using: &chance) {
            case 0...3: if body.takesMore { body.append(Int.random(in: 0...65_536, using: &chance)) }
            case 4: body.append(Int.random(in: 0...10, using: &chance))
            case 5: body.begin()
            case 6: body.end()
            case 7 where Int.random(in: 0..<8, using: &chance) == 0: body.fail()
            default: body.consume(Int.random(in: 0...body.frontCount, using: &chance))
            }
            #expect(body.isRight && body.byteCount == body.expected.count - body.taken)
            #expect(body.inMemory <= max(memory, 98_304) + 98_304 + 1_000)
            #expect(body.file.count <= file)
        }
        #expect(body.takeAll() && body.isEmpty)
    }
}

/// A buffer with a file that is an array.
private final class Driver {
    private var buffer: BodyBuffer
    var file: [UInt8] = []
    /// Everything that was appended, and how much of it came out.
    var expected: [UInt8] = []
    var taken = 0
    var isRight = true
    private var underway: (work: BodyBuffer.Work, bytes: [UInt8])?
    private var unread = 0

    init(memory: Int, file: Int) { buffer = BodyBuffer(memoryBytesMax: memory, fileBytesMax: file) }

    var frontCount: Int { buffer.front.count }
    var byteCount: Int { buffer.byteCount }
    var work: BodyBuffer.Work { buffer.work }
    var takesMore: Bool { buffer.takesMore }
    var isBusy: Bool { buffer.isBusy }
    var isDrained: Bool { buffer.isEmpty }

    var isEmpty: Bool { buffer.isEmpty && taken == expected.count }

    var inMemory: Int { buffer.byteCount - unread }

    func append(_ count: Int) {
        let start = expected.count
        let bytes = (start..<start + count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        expected += bytes
        buffer.append(bytes.span)
    }

    /// Begins what is wanted of the file.
    func begin() {
        let work = buffer.work
        switch work {
        case .none: return
        case .write(let offset, let byteCount):
            let bytes = Driver.array(buffer.beginWrite())
            isRight = isRight && bytes.count == byteCount && offset <= file.count
            underway = (work, bytes)
        case .read(let offset, let byteCount):
            buffer.beginRead()
            isRight = isRight && offset + byteCount <= file.count && byteCount > 0
            underway = (work, isRight ? Array(file[offset..<offset + byteCount]) : [])
        }
    }

    /// The piece under way has been moved.
    func end() {
        guard let (work, bytes) = underway else { return }
        underway = nil
        if case .write(let offset, _) = work {
            file.removeSubrange(offset...)
            file += bytes
            unread += bytes.count
            buffer.writeEnded()
        } else {
            unread -= bytes.count
            buffer.readEnded(Driver.buffer(bytes))
        }
    }

    /// The piece under way could not be written; one that is read arrives.
    func fail() {
        guard let (work, bytes) = underway, case .write = work else { return end() }
        underway = nil
        buffer.writeFailed(Driver.buffer(bytes))
    }

    func moveAll() {
        while buffer.isBusy || buffer.work != .none {
            begin()
            end()
        }
    }

    func consume(_ count: Int) {
        let bytes = buffer.front.withBytes { front in (0..<count).map { front[$0] } }
        isRight = isRight && bytes.elementsEqual(expected[taken..<taken + count])
        taken += count
        buffer.consume(count)
    }

    /// Takes everything out; whether that was everything that came.
    func takeAll() -> Bool {
        var rounds = 0
        while !buffer.isEmpty, rounds < 10_000 {
            moveAll()
            consume(buffer.front.count)
            rounds += 1
        }
        return isRight && taken == expected.count
    }

    private static func array(_ buffer: consuming ByteBuffer) -> [UInt8] {
        buffer.withBytes { bytes in (0..<bytes.count).map { bytes[$0] } }
    }

    private static func buffer(_ bytes: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.append(bytes)
        return buffer
    }
}

private struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
