internal import CHiredis

/// Bytes in, replies out: hiredis' reader with objects of our own and with bounds.
///
/// hiredis 0.14 believes the lengths it reads: its own objects allocate for two thousand million elements when told
/// to. Here each item is asked for admission first.
@safe final class ReplyReader {
    /// What the server sent is no RESP, or too much of it. The connection cannot be used any more.
    struct Violation: Error, Equatable {
        let problem: String
    }

    private let limits: RedisReplyLimits
    // All three are made in init and freed in deinit, and handed to nobody but hiredis' reader.
    private let reader: UnsafeMutablePointer<redisReader>
    private let builder: UnsafeMutablePointer<ReplyBuilder>
    private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>

    init(limits: RedisReplyLimits) {
        self.limits = limits
        unsafe builder = .allocate(capacity: 1)
        unsafe builder.initialize(to: ReplyBuilder(limits: limits))
        unsafe functions = .allocate(capacity: 1)
        unsafe functions.initialize(
            to: redisReplyObjectFunctions(
                createString: { unsafe addString($0, $1, $2) }, createArray: { unsafe beginArray($0, $1) },
                createInteger: { unsafe addInteger($0, $1) }, createNil: { unsafe addNull($0) },
                freeObject: { _ in }))
        guard let created = unsafe redisReaderCreateWithFunctions(functions) else { fatalError("out of memory") }
        unsafe reader = created
        unsafe reader.pointee.privdata = UnsafeMutableRawPointer(builder)
    }

    deinit {
        unsafe redisReaderFree(reader)
        unsafe functions.deinitialize(count: 1).deallocate()
        unsafe builder.deinitialize(count: 1).deallocate()
    }

    /// Takes bytes from the connection.
    func feed(_ bytes: UnsafeRawBufferPointer) throws(Violation) {
        // hiredis copies the bytes before it returns.
        let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        guard unsafe redisReaderFeed(reader, start, bytes.count) == REDIS_OK else { throw currentViolation() }
    }

    /// The next reply that is complete; `nil` when more bytes are needed.
    func next() throws(Violation) -> RedisReply? {
        var object: UnsafeMutableRawPointer?
        guard unsafe redisReaderGetReply(reader, &object) == REDIS_OK else { throw currentViolation() }
        guard unsafe object != nil else {
            try checkUnfinished()
            return nil
        }
        return unsafe builder.pointee.take()
    }

    /// Refuses what could not become an admissible reply any more, before it has been buffered.
    private func checkUnfinished() throws(Violation) {
        let unread = unsafe reader.pointee.len - reader.pointee.pos
        guard unread > 0, let buffer = unsafe reader.pointee.buf else { return }
        guard unread <= limits.replyBytesMax + ReplyReader.slackBytes else {
            throw Violation(problem: "a reply of too many bytes")
        }
        guard unsafe chiredis_current_type(reader) == REDIS_REPLY_STRING else {
            // Any other item is a line, and one that is complete has been read.
            guard unread <= limits.lineBytesMax else { throw Violation(problem: "a line of too many bytes") }
            return
        }
        // hiredis keeps `pos` at the length until the whole string is there; `unread` bytes follow it.
        let head = unsafe UnsafeRawBufferPointer(start: buffer + reader.pointee.pos, count: min(unread, 24))
        var length = 0
        for index in head.indices {
            let byte = unsafe head[index]
            // A minus sign is the beginning of the null string, which hiredis checks.
            guard byte != UInt8(ascii: "\r"), byte != UInt8(ascii: "-") else { break }
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte), length <= limits.bulkBytesMax else {
                throw Violation(problem: "a bulk string of too many bytes")
            }
            length = length * 10 + Int(byte - UInt8(ascii: "0"))
        }
        guard length <= limits.bulkBytesMax else { throw Violation(problem: "a bulk string of too many bytes") }
    }

    private func currentViolation() -> Violation {
        // hiredis keeps the text NUL-terminated within its 128 bytes.
        let text = unsafe withUnsafeBytes(of: &reader.pointee.errstr) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return Violation(problem: unsafe reader.pointee.err == REDIS_ERR_OOM ? "a reply out of bounds" : text)
    }

    /// One chunk from the socket and the length line may come on top of the longest string.
    private static let slackBytes = 65_536
}

// What hiredis calls. The task and its private data are valid during the call: the latter is the builder, which only
// these functions touch while a reply is read. Any non-null result means success, and hiredis never looks at it.

private func builder(_ task: UnsafePointer<redisReadTask>?) -> UnsafeMutablePointer<ReplyBuilder>? {
    unsafe task?.pointee.privdata?.assumingMemoryBound(to: ReplyBuilder.self)
}

private func addString(
    _ task: UnsafePointer<redisReadTask>?, _ start: UnsafeMutablePointer<CChar>?, _ count: Int
) -> UnsafeMutableRawPointer? {
    guard let builder = unsafe builder(task), let task = unsafe task, let start = unsafe start else { return nil }
    guard unsafe builder.pointee.admits(bytes: count) else { return nil }
    // `count` bytes and a line end are in hiredis' buffer; it does not look at the line end of a bulk string itself.
    let bytes = unsafe UnsafeRawBufferPointer(start: start, count: count + 2)
    guard unsafe bytes[count] == UInt8(ascii: "\r"), unsafe bytes[count + 1] == UInt8(ascii: "\n") else { return nil }
    let content = unsafe bytes.prefix(count)
    switch unsafe task.pointee.type {
    case REDIS_REPLY_STRING: unsafe builder.pointee.append(.bulk(Array(content)))
    case REDIS_REPLY_STATUS: unsafe builder.pointee.append(.status(String(decoding: content, as: UTF8.self)))
    case REDIS_REPLY_ERROR:
        let error = unsafe RedisServerError(message: String(decoding: content, as: UTF8.self))
        unsafe builder.pointee.append(.error(error))
    default: return nil
    }
    return UnsafeMutableRawPointer(builder)
}

private func beginArray(_ task: UnsafePointer<redisReadTask>?, _ count: CInt) -> UnsafeMutableRawPointer? {
    guard let builder = unsafe builder(task), unsafe builder.pointee.beginArray(count: Int(count)) else { return nil }
    return UnsafeMutableRawPointer(builder)
}

private func addInteger(_ task: UnsafePointer<redisReadTask>?, _ number: CLongLong) -> UnsafeMutableRawPointer? {
    guard let builder = unsafe builder(task) else { return nil }
    unsafe builder.pointee.append(.integer(number))
    return UnsafeMutableRawPointer(builder)
}

private func addNull(_ task: UnsafePointer<redisReadTask>?) -> UnsafeMutableRawPointer? {
    guard let builder = unsafe builder(task) else { return nil }
    unsafe builder.pointee.append(.null)
    return UnsafeMutableRawPointer(builder)
}
