/// However a response head is cut, it must be read the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzResponseHead(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    let whole = facts(input, cuts: [])
    check(facts(input, cuts: Array(0..<input.count)) == whole, "byte by byte equals whole")
    for cut in 0..<min(input.count, 256) { check(facts(input, cuts: [cut]) == whole, "cut in two equals whole") }
    return 0
}

private struct Facts: Equatable {
    var progress: ResponseHeadProgress
    var numbers: [Int] = []
    var framings: [ResponseFraming] = []
    var upgrade: ByteRange?
    var lines: [FieldLine] = []
}

private func facts(_ input: [UInt8], cuts: [Int]) -> Facts {
    var head = ResponseHead(fieldCapacity: 16)
    var progress = ResponseHeadProgress.incomplete
    for end in cuts + [input.count] {
        progress = head.parse(Array(input[..<end]).span, limits: HeadLimits(bytesMax: 768, fieldsMax: 12))
        if progress != .incomplete { break }
    }
    guard case .complete = progress else { return Facts(progress: progress) }
    head.markHopByHop(in: input.span)
    check((100...599).contains(head.status), "the status is one")
    var result = Facts(progress: progress, upgrade: head.upgrade)
    result.numbers = [head.status, Int(head.minorVersion), head.keepsAlive ? 1 : 0]
    result.framings = [head.framing(requestMethod: .get), head.framing(requestMethod: .head)]
    for index in 0..<head.fields.count { result.lines.append(head.fields[index]) }
    return result
}
