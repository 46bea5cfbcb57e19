/// The normaliser must agree with the slow reference, and its normal form must be one.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRequestTarget(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // The first byte is the policy, the rest the path.
    let input = fuzzInput(start, count)
    guard let first = input.first else { return 0 }
    let path = Array(input.dropFirst())
    let allows = first & 1 == 1
    var result = NormalizedPath(capacity: 2_048)
    let error = RequestTarget.normalize(path: path.span, policy: TargetPolicy(allowInvalidUTF8: allows), into: &result)
    let reference = ReferenceNormalizer.normalize(path, allowInvalidUTF8: allows)
    check((error == nil) == (reference != nil), "both refuse or neither")
    guard error == nil, let reference else { return 0 }
    let normal = array(result.bytes)
    check(String(decoding: normal, as: UTF8.self) == reference.path, "both find the same path")
    check(result.encodedSpecials == reference.specials, "both find the same escapes")
    check(!result.isUnchanged || normal == path, "unchanged is unchanged")
    var readings: Set<[UInt8]> = []
    let refusal = result.alternativeReadings {
        readings.insert(array($0))
        return true
    }
    check((refusal == nil) == (reference.readings != nil), "both refuse a reading or neither")
    readings.remove(normal)
    if refusal == nil {
        check(readings.map { String(decoding: $0, as: UTF8.self) }.sorted() == reference.readings, "the same readings")
    }
    for reading in readings.union([normal]) {
        let segments = reading.split(separator: 0x2F)
        check(!segments.contains([0x2E]) && !segments.contains([0x2E, 0x2E]), "no reading has a dot segment")
    }
    var again = NormalizedPath(capacity: 2_048)
    let second = RequestTarget.normalize(
        path: normal.span, policy: TargetPolicy(allowInvalidUTF8: allows), into: &again)
    check(second == nil && array(again.bytes) == normal, "the normal form is its own normal form")
    return 0
}

private func array(_ span: Span<UInt8>) -> [UInt8] {
    span.indices.map { span[$0] }
}
