/// Wherever the header of the PROXY protocol is cut, it is not complete, and never another one; what follows it changes
/// nothing; it keeps its bounds; and nobody comes from the address that stands for Unix sockets.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzProxyProtocol(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    let reading = ProxyHeader.read(input.span)
    var isDecided = false
    for end in 0...input.count {
        let part = ProxyHeader.read(input.span.extracting(0..<end))
        check(!isDecided || part == reading, "more bytes do not change what was decided")
        switch part {
        case .incomplete: check(end < ProxyHeader.byteCountMax, "a header has its bound")
        case .malformed:
            check(end > 0, "nothing is not wrong yet")
            isDecided = true
        case .complete(let header):
            check(isDecided || header.byteCount == end, "it is complete with its last byte")
            check(header.source?.address != .unspecified, "nobody has no address")
            isDecided = true
        }
    }
    if case .complete(let header) = reading, let source = header.source {
        check(rewritten(source) == source, "what it says can be said again")
    }
    return 0
}

/// The source, written as version 1 has it and read again.
private func rewritten(_ source: ProxyHeader.Source) -> ProxyHeader.Source? {
    let family = source.address.isIPv4 ? "TCP4" : "TCP6"
    let line = "PROXY \(family) \(source.address) \(source.address) \(source.port) 443\r\n"
    guard case .complete(let header) = ProxyHeader.read(Array(line.utf8).span) else { return nil }
    return header.source
}
