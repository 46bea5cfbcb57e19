/// However a chunked body is cut, it must give the same data and the same end.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzChunkedBody(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    let whole = decode(input, cuts: [])
    check(whole.consumed <= input.count, "no more is consumed than there is")
    check(whole.end != .needMore || whole.consumed == input.count, "all is consumed before more is asked for")
    check(decode(input, cuts: Array(0..<input.count)) == whole, "byte by byte equals whole")
    for cut in 0..<min(input.count, 256) { check(decode(input, cuts: [cut]) == whole, "cut in two equals whole") }
    return 0
}

private struct Body: Equatable {
    var data: [UInt8] = []
    var consumed = 0
    var trailers = 0
    var end = ChunkedDecoder.Event.needMore
}

private func decode(_ input: [UInt8], cuts: [Int]) -> Body {
    var decoder = ChunkedDecoder(limits: ChunkLimits(extensionBytesMax: 64, trailerBytesMax: 128, trailersMax: 4))
    var body = Body()
    var start = 0
    for end in cuts + [input.count] {
        var rest = input[start..<end]
        start = end
        repeat {
            let piece = Array(rest)
            let (consumed, event) = decoder.next(piece.span)
            if case .data(let range) = event {
                check(!range.isEmpty && range.upperBound == consumed, "data ends what is consumed")
                body.data += piece[range]
            }
            rest = rest.dropFirst(consumed)
            body.consumed += consumed
            body.end = event
            if case .data = event { continue }
            break
        } while true
        body.trailers = decoder.trailerCount
        guard body.end == .needMore else { break }
    }
    return body
}
