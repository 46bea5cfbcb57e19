internal import HTTPModel

/// What of a body waits in memory and what in a file: first in, first out; does no I/O.
///
/// The bytes, in their order: `front`, then what the file holds, then `back`. What comes goes into `front` while that has
/// room and nothing is behind it; after that into `back`, which goes to the file piece by piece. When `front` is used up
/// it is read back from there. One piece is under way at a time. A file that has been read to its end begins anew.
struct BodyBuffer: ~Copyable {
    /// What the file is wanted for.
    enum Work: Equatable {
        case none
        case write(offset: Int, byteCount: Int)
        case read(offset: Int, byteCount: Int)
    }

    private enum Underway {
        case nothing
        case writing(byteCount: Int)
        case reading
    }

    private var memoryBytesMax: Int
    private let fileBytesMax: Int
    /// The next bytes to go on.
    private(set) var front = ByteBuffer()
    private var back = ByteBuffer()
    /// What of the file has gone on, and what it holds.
    private var fileStart = 0
    private var fileEnd = 0
    private var underway = Underway.nothing
    private var mayWrite = true

    /// An empty buffer. Memory may hold up to two pieces more than `memoryBytesMax`: one on its way to the file, and what a
    /// single `append` brings.
    init(memoryBytesMax: Int, fileBytesMax: Int) {
        self.memoryBytesMax = memoryBytesMax
        self.fileBytesMax = fileBytesMax
    }

    var isEmpty: Bool { front.isEmpty && isFileEmpty && back.isEmpty && !isWriting }

    /// Bytes that have come and not gone on.
    var byteCount: Int {
        var count = front.count + (fileEnd - fileStart) + back.count
        if case .writing(let byteCount) = underway { count += byteCount }
        return count
    }

    /// A piece is on its way to the file or back.
    var isBusy: Bool { if case .nothing = underway { false } else { true } }

    /// Whether more should come now; what comes all the same is kept.
    var takesMore: Bool {
        if isWriting { return false }
        if isFileEmpty, back.isEmpty, front.count < memoryBytesMax { return true }
        return mayWrite && back.count < BodyBuffer.writeMin && fileEnd + back.count < fileBytesMax
    }

    /// Memory is short: from now on no more of it than a piece.
    mutating func spareMemory() { memoryBytesMax = min(memoryBytesMax, BodyBuffer.pieceBytesMax) }

    mutating func append(_ bytes: Span<UInt8>) {
        var taken = 0
        if isFileEmpty, back.isEmpty, !isWriting {
            taken = min(bytes.count, max(0, memoryBytesMax - front.count))
            front.append(bytes, 0..<taken)
        }
        back.append(bytes, taken..<bytes.count)
        settle()
    }

    /// Takes bytes from `front` that have gone on.
    mutating func consume(_ byteCount: Int) {
        front.consume(byteCount)
        settle()
    }

    // MARK: The file

    /// What is to be begun now, by `beginWrite` or `beginRead`; where that cannot be, `stopWriting`.
    var work: Work {
        guard !isBusy else { return .none }
        if front.isEmpty, !isFileEmpty {
            return .read(offset: fileStart, byteCount: min(fileEnd - fileStart, BodyBuffer.pieceBytesMax))
        }
        guard mayWrite, back.count >= BodyBuffer.writeMin, fileEnd + back.count <= fileBytesMax else { return .none }
        return .write(offset: fileEnd, byteCount: back.count)
    }

    /// The piece that goes to the file.
    mutating func beginWrite() -> ByteBuffer {
        precondition(!isBusy)
        underway = .writing(byteCount: back.count)
        return back.take()
    }

    /// The piece is in the file.
    mutating func writeEnded() {
        guard case .writing(let byteCount) = underway else { preconditionFailure("nothing is being written") }
        underway = .nothing
        fileEnd += byteCount
        settle()
    }

    /// The piece could not be written: it stays here.
    mutating func writeFailed(_ piece: consuming ByteBuffer) {
        precondition(isWriting)
        underway = .nothing
        stopWriting()
        piece.append(contentsOf: back)
        back = piece
        settle()
    }

    mutating func beginRead() {
        precondition(!isBusy)
        underway = .reading
    }

    /// The piece that was wanted, whole.
    mutating func readEnded(_ piece: consuming ByteBuffer) {
        guard case .reading = underway else { preconditionFailure("nothing is being read") }
        precondition(front.isEmpty)
        underway = .nothing
        fileStart += piece.count
        front = piece
        settle()
    }

    /// The file takes nothing now: the next attempt is made when all that it holds has gone on.
    mutating func stopWriting() { mayWrite = false }

    private var isFileEmpty: Bool { fileStart == fileEnd }

    private var isWriting: Bool { if case .writing = underway { true } else { false } }

    /// Once the file is used up, what came behind it is next.
    private mutating func settle() {
        guard front.isEmpty, isFileEmpty, !isWriting else { return }
        front.release()
        fileStart = 0
        fileEnd = 0
        mayWrite = true
        if !back.isEmpty { swap(&front, &back) }
    }

    /// Pieces that are smaller are not worth a visit to another thread.
    static let writeMin = 32_768
    /// The most that is read back at a time.
    static let pieceBytesMax = 65_536
}
