internal import HTTPModel
internal import Telemetry

/// How the bodies of one direction are buffered. Sizes are in bytes.
public final class BodyBuffering: Sendable {
    /// Of one body in memory.
    let memoryBytesMax: Int
    /// Of one body in its file; zero: it gets none.
    let fileBytesMax: Int
    /// Of all files of the process.
    let allFilesBytesMax: Int
    let folder: BodyFolder?
    let files: BodyFiles

    /// Without a folder bodies are buffered in memory alone.
    public init(
        memoryBytesMax: Int, fileBytesMax: Int, allFilesBytesMax: Int, folder: BodyFolder?, files: BodyFiles
    ) {
        self.memoryBytesMax = memoryBytesMax
        self.fileBytesMax = folder == nil ? 0 : fileBytesMax
        self.allFilesBytesMax = allFilesBytesMax
        self.folder = folder
        self.files = files
    }

    /// The longest body that is taken whole.
    var bodyBytesMax: UInt64 { UInt64(memoryBytesMax) + UInt64(fileBytesMax) }
}

/// A body on its way through a buffer, with its file. Belongs to its exchange, and so to the worker; what blocks is done
/// elsewhere, and `DownstreamSide.bufferMoved` is called after it.
final class BufferedBody {
    /// All of the body has come.
    var isWhole = false
    /// It goes on in chunks, with trailers behind them.
    var isChunked = false
    /// A piece could not be written.
    private(set) var hasFailedToWrite = false
    /// All files together hold as much as they may.
    private(set) var isOutOfRoom = false
    /// What went into the file does not come back.
    private(set) var isLost = false

    private var buffer: BodyBuffer
    private let buffering: BodyBuffering
    // The exchange owns this body.
    private unowned let exchange: Exchange
    private var file: BodyFile?

    init(_ buffering: BodyBuffering, of exchange: Exchange) {
        self.buffering = buffering
        self.exchange = exchange
        buffer = BodyBuffer(memoryBytesMax: buffering.memoryBytesMax, fileBytesMax: buffering.fileBytesMax)
    }

    deinit { if let file { buffering.files.close(file) } }

    var isEmpty: Bool { buffer.isEmpty }
    var isBusy: Bool { buffer.isBusy }
    var takesMore: Bool { buffer.takesMore }
    /// Bytes that have come and not gone on.
    var byteCount: Int { buffer.byteCount }
    /// Bytes that can go on now.
    var readyCount: Int { buffer.front.count }

    func append(_ bytes: Span<UInt8>) {
        if MemoryAccount.isShort { buffer.spareMemory() }
        buffer.append(bytes)
        moveOn()
    }

    /// Passes on what is ready, at most a piece of it.
    func pass(_ body: (Span<UInt8>) -> Void) {
        let count = min(buffer.front.count, BodyBuffer.pieceBytesMax)
        buffer.front.withBytes { body($0.extracting(0..<count)) }
        buffer.consume(count)
        moveOn()
    }

    /// A piece is back from where it was written or read.
    func arrived(_ piece: FilePiece) {
        switch piece.direction {
        case .write where piece.errorNumber == 0: buffer.writeEnded()
        case .write: giveUpWriting(piece.bytes.take())
        case .read where piece.errorNumber == 0: buffer.readEnded(piece.bytes.take())
        case .read:
            exchange.worker.counters.bodyFileErrors.add()
            isLost = true
            return
        }
        moveOn()
    }

    /// Begins what is wanted of the file next.
    private func moveOn() {
        switch buffer.work {
        case .none: return
        case .write(let offset, let byteCount):
            guard let file = file ?? makeFile() else { return }
            guard file.reserve(upTo: offset + byteCount, bytesMax: buffering.allFilesBytesMax) else {
                isOutOfRoom = true
                buffer.stopWriting()
                return
            }
            let piece = FilePiece(
                .write, buffer.beginWrite(), at: offset, of: file, body: self, exchange: exchange)
            if !buffering.files.move(piece) { giveUpWriting(piece.bytes.take()) }
        case .read(let offset, let byteCount):
            guard let file else { preconditionFailure("bytes are in a file that is not there") }
            buffer.beginRead()
            let piece = FilePiece(
                .read(byteCount: byteCount), ByteBuffer(capacity: byteCount), at: offset, of: file, body: self,
                exchange: exchange)
            if !buffering.files.move(piece) { isLost = true }
        }
    }

    private func giveUpWriting(_ piece: consuming ByteBuffer) {
        exchange.worker.counters.bodyFileErrors.add()
        hasFailedToWrite = true
        buffer.writeFailed(piece)
    }

    private func makeFile() -> BodyFile? {
        guard let folder = buffering.folder else { return nil }
        let made = BodyFile(in: folder, of: buffering.files)
        file = made
        return made
    }
}
