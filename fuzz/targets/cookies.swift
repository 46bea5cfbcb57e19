/// Reading cookies never fails, and a name that was cut out is gone in every spelling.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCookies(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    let name = Array("s".utf8)
    var cookies = CookieFields(0..<input.count)
    var found = 0
    var last = 0
    while let cookie = cookies.next(in: input.span) {
        check(
            cookie.whole.lowerBound >= last && cookie.name.upperBound <= cookie.value.lowerBound,
            "cookies come in order")
        last = cookie.whole.upperBound
        if Array(input[cookie.name]) == name { found += 1 }
    }
    switch CookieFields.value(named: name.span, of: 0..<input.count, in: input.span) {
    case .none: check(found == 0, "none is none")
    case .one: check(found == 1, "one is one")
    case .several: check(found > 1, "several are several")
    }
    var left: [UInt8] = []
    CookieFields.forEachKept(
        of: 0..<input.count, in: input.span, cutting: { $0.count == 1 && $0[0] == name[0] }, keep: { left += input[$0] }
    )
    check(left.count <= input.count, "cutting adds nothing")
    check(CookieFields.value(named: name.span, of: 0..<left.count, in: left.span) == .none, "what is cut is gone")
    if let planted = SetCookie.name(of: 0..<input.count, in: input.span) {
        check(!planted.isEmpty, "a name is not empty")
    }
    return 0
}
