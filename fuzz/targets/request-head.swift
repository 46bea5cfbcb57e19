/// However a request head is cut, it must be read the same, and what is accepted must be free of what must not pass.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRequestHead(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    let whole = facts(input, cuts: [])
    check(facts(input, cuts: Array(0..<input.count)) == whole, "byte by byte equals whole")
    for cut in 0..<min(input.count, 256) { check(facts(input, cuts: [cut]) == whole, "cut in two equals whole") }
    return 0
}

private struct Facts: Equatable {
    var progress: HeadProgress
    var method = Method.other
    var form = TargetForm.origin
    var framing = BodyFraming.none
    var flags: [Bool] = []
    var ranges: [ByteRange] = []
    var lines: [FieldLine] = []
}

private func facts(_ input: [UInt8], cuts: [Int]) -> Facts {
    var head = RequestHead(fieldCapacity: 16)
    var progress = HeadProgress.incomplete
    let limits = HeadLimits(bytesMax: 768, fieldsMax: 12)
    for end in cuts + [input.count] {
        progress = head.parse(Array(input[..<end]).span, limits: limits)
        if progress != .incomplete { break }
    }
    guard case .complete(let byteCount) = progress else { return Facts(progress: progress) }
    check(byteCount <= min(input.count, 768), "a head is within its bytes")
    check(head.fields.count <= 12, "a head has the fields allowed")
    head.markHopByHop(in: input.span)
    var result = Facts(progress: progress, method: head.method, form: head.form, framing: head.framing)
    result.flags = [head.keepsAlive, head.expectsContinue, head.minorVersion > 0, head.upgrade != nil]
    result.ranges = [head.methodRange, head.target, head.path, head.query, head.authority]
    if let upgrade = head.upgrade { result.ranges.append(upgrade) }
    var framings = 0
    for index in 0..<head.fields.count {
        let line = head.fields[index]
        result.lines.append(line)
        let value = input[line.value.range]
        check(value.allSatisfy { $0 == 9 || ($0 >= 32 && $0 != 127) }, "a value holds no control byte")
        check(!line.name.isEmpty && input[line.name.end] == 0x3A, "a colon follows each name")
        if line.known == .contentLength || line.known == .transferEncoding { framings += 1 }
        if line.known == .connection { check(line.isDropped, "Connection is dropped") }
    }
    check(framings <= 1, "at most one framing")
    check((head.framing == .none) == (framings == 0), "the framing is what the fields say")
    check(head.minorVersion == 0 || !head.authority.isEmpty, "HTTP/1.1 has an authority")
    return result
}
