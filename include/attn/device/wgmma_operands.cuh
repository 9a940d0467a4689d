/* wgmma_operands.cuh - operand lists of wgmma instructions by width (wgmma.cuh uses them, nobody else).
 * Made by gen/wgmma.m4.  Do not edit.
 *
 *     D    the accumulators' numbers, in the instruction's text     ACC  the accumulators, as operands
 *     SS   those of the two descriptors    RS   those of four registers and a descriptor    KEEP  that of the predicate
 * CUDA. */
#ifndef ATTN_DEVICE_WGMMA_OPERANDS_CUH
#define ATTN_DEVICE_WGMMA_OPERANDS_CUH

#define ATTN__WGMMA_D_8 "%0, %1, %2, %3"
#define ATTN__WGMMA_ACC_8(d) "+f"((d)[0]), "+f"((d)[1]), "+f"((d)[2]), "+f"((d)[3])
#define ATTN__WGMMA_SS_8 "%4, %5"
#define ATTN__WGMMA_SS_KEEP_8 "%6"
#define ATTN__WGMMA_RS_8 "{%4, %5, %6, %7}, %8"
#define ATTN__WGMMA_RS_KEEP_8 "%9"

#define ATTN__WGMMA_D_16 ATTN__WGMMA_D_8 ", %4, %5, %6, %7"
#define ATTN__WGMMA_ACC_16(d) ATTN__WGMMA_ACC_8(d), "+f"((d)[4]), "+f"((d)[5]), "+f"((d)[6]), "+f"((d)[7])
#define ATTN__WGMMA_SS_16 "%8, %9"
#define ATTN__WGMMA_SS_KEEP_16 "%10"
#define ATTN__WGMMA_RS_16 "{%8, %9, %10, %11}, %12"
#define ATTN__WGMMA_RS_KEEP_16 "%13"

#define ATTN__WGMMA_D_24 ATTN__WGMMA_D_16 ", %8, %9, %10, %11"
#define ATTN__WGMMA_ACC_24(d) ATTN__WGMMA_ACC_16(d), "+f"((d)[8]), "+f"((d)[9]), "+f"((d)[10]), "+f"((d)[11])
#define ATTN__WGMMA_SS_24 "%12, %13"
#define ATTN__WGMMA_SS_KEEP_24 "%14"
#define ATTN__WGMMA_RS_24 "{%12, %13, %14, %15}, %16"
#define ATTN__WGMMA_RS_KEEP_24 "%17"

#define ATTN__WGMMA_D_32 ATTN__WGMMA_D_24 ", %12, %13, %14, %15"
#define ATTN__WGMMA_ACC_32(d) ATTN__WGMMA_ACC_24(d), "+f"((d)[12]), "+f"((d)[13]), "+f"((d)[14]), "+f"((d)[15])
#define ATTN__WGMMA_SS_32 "%16, %17"
#define ATTN__WGMMA_SS_KEEP_32 "%18"
#define ATTN__WGMMA_RS_32 "{%16, %17, %18, %19}, %20"
#define ATTN__WGMMA_RS_KEEP_32 "%21"

#define ATTN__WGMMA_D_40 ATTN__WGMMA_D_32 ", %16, %17, %18, %19"
#define ATTN__WGMMA_ACC_40(d) ATTN__WGMMA_ACC_32(d), "+f"((d)[16]), "+f"((d)[17]), "+f"((d)[18]), "+f"((d)[19])
#define ATTN__WGMMA_SS_40 "%20, %21"
#define ATTN__WGMMA_SS_KEEP_40 "%22"
#define ATTN__WGMMA_RS_40 "{%20, %21, %22, %23}, %24"
#define ATTN__WGMMA_RS_KEEP_40 "%25"

#define ATTN__WGMMA_D_48 ATTN__WGMMA_D_40 ", %20, %21, %22, %23"
#define ATTN__WGMMA_ACC_48(d) ATTN__WGMMA_ACC_40(d), "+f"((d)[20]), "+f"((d)[21]), "+f"((d)[22]), "+f"((d)[23])
#define ATTN__WGMMA_SS_48 "%24, %25"
#define ATTN__WGMMA_SS_KEEP_48 "%26"
#define ATTN__WGMMA_RS_48 "{%24, %25, %26, %27}, %28"
#define ATTN__WGMMA_RS_KEEP_48 "%29"

#define ATTN__WGMMA_D_56 ATTN__WGMMA_D_48 ", %24, %25, %26, %27"
#define ATTN__WGMMA_ACC_56(d) ATTN__WGMMA_ACC_48(d), "+f"((d)[24]), "+f"((d)[25]), "+f"((d)[26]), "+f"((d)[27])
#define ATTN__WGMMA_SS_56 "%28, %29"
#define ATTN__WGMMA_SS_KEEP_56 "%30"
#define ATTN__WGMMA_RS_56 "{%28, %29, %30, %31}, %32"
#define ATTN__WGMMA_RS_KEEP_56 "%33"

#define ATTN__WGMMA_D_64 ATTN__WGMMA_D_56 ", %28, %29, %30, %31"
#define ATTN__WGMMA_ACC_64(d) ATTN__WGMMA_ACC_56(d), "+f"((d)[28]), "+f"((d)[29]), "+f"((d)[30]), "+f"((d)[31])
#define ATTN__WGMMA_SS_64 "%32, %33"
#define ATTN__WGMMA_SS_KEEP_64 "%34"
#define ATTN__WGMMA_RS_64 "{%32, %33, %34, %35}, %36"
#define ATTN__WGMMA_RS_KEEP_64 "%37"

#define ATTN__WGMMA_D_72 ATTN__WGMMA_D_64 ", %32, %33, %34, %35"
#define ATTN__WGMMA_ACC_72(d) ATTN__WGMMA_ACC_64(d), "+f"((d)[32]), "+f"((d)[33]), "+f"((d)[34]), "+f"((d)[35])
#define ATTN__WGMMA_SS_72 "%36, %37"
#define ATTN__WGMMA_SS_KEEP_72 "%38"
#define ATTN__WGMMA_RS_72 "{%36, %37, %38, %39}, %40"
#define ATTN__WGMMA_RS_KEEP_72 "%41"

#define ATTN__WGMMA_D_80 ATTN__WGMMA_D_72 ", %36, %37, %38, %39"
#define ATTN__WGMMA_ACC_80(d) ATTN__WGMMA_ACC_72(d), "+f"((d)[36]), "+f"((d)[37]), "+f"((d)[38]), "+f"((d)[39])
#define ATTN__WGMMA_SS_80 "%40, %41"
#define ATTN__WGMMA_SS_KEEP_80 "%42"
#define ATTN__WGMMA_RS_80 "{%40, %41, %42, %43}, %44"
#define ATTN__WGMMA_RS_KEEP_80 "%45"

#define ATTN__WGMMA_D_88 ATTN__WGMMA_D_80 ", %40, %41, %42, %43"
#define ATTN__WGMMA_ACC_88(d) ATTN__WGMMA_ACC_80(d), "+f"((d)[40]), "+f"((d)[41]), "+f"((d)[42]), "+f"((d)[43])
#define ATTN__WGMMA_SS_88 "%44, %45"
#define ATTN__WGMMA_SS_KEEP_88 "%46"
#define ATTN__WGMMA_RS_88 "{%44, %45, %46, %47}, %48"
#define ATTN__WGMMA_RS_KEEP_88 "%49"

#define ATTN__WGMMA_D_96 ATTN__WGMMA_D_88 ", %44, %45, %46, %47"
#define ATTN__WGMMA_ACC_96(d) ATTN__WGMMA_ACC_88(d), "+f"((d)[44]), "+f"((d)[45]), "+f"((d)[46]), "+f"((d)[47])
#define ATTN__WGMMA_SS_96 "%48, %49"
#define ATTN__WGMMA_SS_KEEP_96 "%50"
#define ATTN__WGMMA_RS_96 "{%48, %49, %50, %51}, %52"
#define ATTN__WGMMA_RS_KEEP_96 "%53"

#define ATTN__WGMMA_D_104 ATTN__WGMMA_D_96 ", %48, %49, %50, %51"
#define ATTN__WGMMA_ACC_104(d) ATTN__WGMMA_ACC_96(d), "+f"((d)[48]), "+f"((d)[49]), "+f"((d)[50]), "+f"((d)[51])
#define ATTN__WGMMA_SS_104 "%52, %53"
#define ATTN__WGMMA_SS_KEEP_104 "%54"
#define ATTN__WGMMA_RS_104 "{%52, %53, %54, %55}, %56"
#define ATTN__WGMMA_RS_KEEP_104 "%57"

#define ATTN__WGMMA_D_112 ATTN__WGMMA_D_104 ", %52, %53, %54, %55"
#define ATTN__WGMMA_ACC_112(d) ATTN__WGMMA_ACC_104(d), "+f"((d)[52]), "+f"((d)[53]), "+f"((d)[54]), "+f"((d)[55])
#define ATTN__WGMMA_SS_112 "%56, %57"
#define ATTN__WGMMA_SS_KEEP_112 "%58"
#define ATTN__WGMMA_RS_112 "{%56, %57, %58, %59}, %60"
#define ATTN__WGMMA_RS_KEEP_112 "%61"

#define ATTN__WGMMA_D_120 ATTN__WGMMA_D_112 ", %56, %57, %58, %59"
#define ATTN__WGMMA_ACC_120(d) ATTN__WGMMA_ACC_112(d), "+f"((d)[56]), "+f"((d)[57]), "+f"((d)[58]), "+f"((d)[59])
#define ATTN__WGMMA_SS_120 "%60, %61"
#define ATTN__WGMMA_SS_KEEP_120 "%62"
#define ATTN__WGMMA_RS_120 "{%60, %61, %62, %63}, %64"
#define ATTN__WGMMA_RS_KEEP_120 "%65"

#define ATTN__WGMMA_D_128 ATTN__WGMMA_D_120 ", %60, %61, %62, %63"
#define ATTN__WGMMA_ACC_128(d) ATTN__WGMMA_ACC_120(d), "+f"((d)[60]), "+f"((d)[61]), "+f"((d)[62]), "+f"((d)[63])
#define ATTN__WGMMA_SS_128 "%64, %65"
#define ATTN__WGMMA_SS_KEEP_128 "%66"
#define ATTN__WGMMA_RS_128 "{%64, %65, %66, %67}, %68"
#define ATTN__WGMMA_RS_KEEP_128 "%69"

#define ATTN__WGMMA_D_136 ATTN__WGMMA_D_128 ", %64, %65, %66, %67"
#define ATTN__WGMMA_ACC_136(d) ATTN__WGMMA_ACC_128(d), "+f"((d)[64]), "+f"((d)[65]), "+f"((d)[66]), "+f"((d)[67])
#define ATTN__WGMMA_SS_136 "%68, %69"
#define ATTN__WGMMA_SS_KEEP_136 "%70"
#define ATTN__WGMMA_RS_136 "{%68, %69, %70, %71}, %72"
#define ATTN__WGMMA_RS_KEEP_136 "%73"

#define ATTN__WGMMA_D_144 ATTN__WGMMA_D_136 ", %68, %69, %70, %71"
#define ATTN__WGMMA_ACC_144(d) ATTN__WGMMA_ACC_136(d), "+f"((d)[68]), "+f"((d)[69]), "+f"((d)[70]), "+f"((d)[71])
#define ATTN__WGMMA_SS_144 "%72, %73"
#define ATTN__WGMMA_SS_KEEP_144 "%74"
#define ATTN__WGMMA_RS_144 "{%72, %73, %74, %75}, %76"
#define ATTN__WGMMA_RS_KEEP_144 "%77"

#define ATTN__WGMMA_D_152 ATTN__WGMMA_D_144 ", %72, %73, %74, %75"
#define ATTN__WGMMA_ACC_152(d) ATTN__WGMMA_ACC_144(d), "+f"((d)[72]), "+f"((d)[73]), "+f"((d)[74]), "+f"((d)[75])
#define ATTN__WGMMA_SS_152 "%76, %77"
#define ATTN__WGMMA_SS_KEEP_152 "%78"
#define ATTN__WGMMA_RS_152 "{%76, %77, %78, %79}, %80"
#define ATTN__WGMMA_RS_KEEP_152 "%81"

#define ATTN__WGMMA_D_160 ATTN__WGMMA_D_152 ", %76, %77, %78, %79"
#define ATTN__WGMMA_ACC_160(d) ATTN__WGMMA_ACC_152(d), "+f"((d)[76]), "+f"((d)[77]), "+f"((d)[78]), "+f"((d)[79])
#define ATTN__WGMMA_SS_160 "%80, %81"
#define ATTN__WGMMA_SS_KEEP_160 "%82"
#define ATTN__WGMMA_RS_160 "{%80, %81, %82, %83}, %84"
#define ATTN__WGMMA_RS_KEEP_160 "%85"

#define ATTN__WGMMA_D_168 ATTN__WGMMA_D_160 ", %80, %81, %82, %83"
#define ATTN__WGMMA_ACC_168(d) ATTN__WGMMA_ACC_160(d), "+f"((d)[80]), "+f"((d)[81]), "+f"((d)[82]), "+f"((d)[83])
#define ATTN__WGMMA_SS_168 "%84, %85"
#define ATTN__WGMMA_SS_KEEP_168 "%86"
#define ATTN__WGMMA_RS_168 "{%84, %85, %86, %87}, %88"
#define ATTN__WGMMA_RS_KEEP_168 "%89"

#define ATTN__WGMMA_D_176 ATTN__WGMMA_D_168 ", %84, %85, %86, %87"
#define ATTN__WGMMA_ACC_176(d) ATTN__WGMMA_ACC_168(d), "+f"((d)[84]), "+f"((d)[85]), "+f"((d)[86]), "+f"((d)[87])
#define ATTN__WGMMA_SS_176 "%88, %89"
#define ATTN__WGMMA_SS_KEEP_176 "%90"
#define ATTN__WGMMA_RS_176 "{%88, %89, %90, %91}, %92"
#define ATTN__WGMMA_RS_KEEP_176 "%93"

#define ATTN__WGMMA_D_184 ATTN__WGMMA_D_176 ", %88, %89, %90, %91"
#define ATTN__WGMMA_ACC_184(d) ATTN__WGMMA_ACC_176(d), "+f"((d)[88]), "+f"((d)[89]), "+f"((d)[90]), "+f"((d)[91])
#define ATTN__WGMMA_SS_184 "%92, %93"
#define ATTN__WGMMA_SS_KEEP_184 "%94"
#define ATTN__WGMMA_RS_184 "{%92, %93, %94, %95}, %96"
#define ATTN__WGMMA_RS_KEEP_184 "%97"

#define ATTN__WGMMA_D_192 ATTN__WGMMA_D_184 ", %92, %93, %94, %95"
#define ATTN__WGMMA_ACC_192(d) ATTN__WGMMA_ACC_184(d), "+f"((d)[92]), "+f"((d)[93]), "+f"((d)[94]), "+f"((d)[95])
#define ATTN__WGMMA_SS_192 "%96, %97"
#define ATTN__WGMMA_SS_KEEP_192 "%98"
#define ATTN__WGMMA_RS_192 "{%96, %97, %98, %99}, %100"
#define ATTN__WGMMA_RS_KEEP_192 "%101"

#define ATTN__WGMMA_D_200 ATTN__WGMMA_D_192 ", %96, %97, %98, %99"
#define ATTN__WGMMA_ACC_200(d) ATTN__WGMMA_ACC_192(d), "+f"((d)[96]), "+f"((d)[97]), "+f"((d)[98]), "+f"((d)[99])
#define ATTN__WGMMA_SS_200 "%100, %101"
#define ATTN__WGMMA_SS_KEEP_200 "%102"
#define ATTN__WGMMA_RS_200 "{%100, %101, %102, %103}, %104"
#define ATTN__WGMMA_RS_KEEP_200 "%105"

#define ATTN__WGMMA_D_208 ATTN__WGMMA_D_200 ", %100, %101, %102, %103"
#define ATTN__WGMMA_ACC_208(d) ATTN__WGMMA_ACC_200(d), "+f"((d)[100]), "+f"((d)[101]), "+f"((d)[102]), "+f"((d)[103])
#define ATTN__WGMMA_SS_208 "%104, %105"
#define ATTN__WGMMA_SS_KEEP_208 "%106"
#define ATTN__WGMMA_RS_208 "{%104, %105, %106, %107}, %108"
#define ATTN__WGMMA_RS_KEEP_208 "%109"

#define ATTN__WGMMA_D_216 ATTN__WGMMA_D_208 ", %104, %105, %106, %107"
#define ATTN__WGMMA_ACC_216(d) ATTN__WGMMA_ACC_208(d), "+f"((d)[104]), "+f"((d)[105]), "+f"((d)[106]), "+f"((d)[107])
#define ATTN__WGMMA_SS_216 "%108, %109"
#define ATTN__WGMMA_SS_KEEP_216 "%110"
#define ATTN__WGMMA_RS_216 "{%108, %109, %110, %111}, %112"
#define ATTN__WGMMA_RS_KEEP_216 "%113"

#define ATTN__WGMMA_D_224 ATTN__WGMMA_D_216 ", %108, %109, %110, %111"
#define ATTN__WGMMA_ACC_224(d) ATTN__WGMMA_ACC_216(d), "+f"((d)[108]), "+f"((d)[109]), "+f"((d)[110]), "+f"((d)[111])
#define ATTN__WGMMA_SS_224 "%112, %113"
#define ATTN__WGMMA_SS_KEEP_224 "%114"
#define ATTN__WGMMA_RS_224 "{%112, %113, %114, %115}, %116"
#define ATTN__WGMMA_RS_KEEP_224 "%117"

#define ATTN__WGMMA_D_232 ATTN__WGMMA_D_224 ", %112, %113, %114, %115"
#define ATTN__WGMMA_ACC_232(d) ATTN__WGMMA_ACC_224(d), "+f"((d)[112]), "+f"((d)[113]), "+f"((d)[114]), "+f"((d)[115])
#define ATTN__WGMMA_SS_232 "%116, %117"
#define ATTN__WGMMA_SS_KEEP_232 "%118"
#define ATTN__WGMMA_RS_232 "{%116, %117, %118, %119}, %120"
#define ATTN__WGMMA_RS_KEEP_232 "%121"

#define ATTN__WGMMA_D_240 ATTN__WGMMA_D_232 ", %116, %117, %118, %119"
#define ATTN__WGMMA_ACC_240(d) ATTN__WGMMA_ACC_232(d), "+f"((d)[116]), "+f"((d)[117]), "+f"((d)[118]), "+f"((d)[119])
#define ATTN__WGMMA_SS_240 "%120, %121"
#define ATTN__WGMMA_SS_KEEP_240 "%122"
#define ATTN__WGMMA_RS_240 "{%120, %121, %122, %123}, %124"
#define ATTN__WGMMA_RS_KEEP_240 "%125"

#define ATTN__WGMMA_D_248 ATTN__WGMMA_D_240 ", %120, %121, %122, %123"
#define ATTN__WGMMA_ACC_248(d) ATTN__WGMMA_ACC_240(d), "+f"((d)[120]), "+f"((d)[121]), "+f"((d)[122]), "+f"((d)[123])
#define ATTN__WGMMA_SS_248 "%124, %125"
#define ATTN__WGMMA_SS_KEEP_248 "%126"
#define ATTN__WGMMA_RS_248 "{%124, %125, %126, %127}, %128"
#define ATTN__WGMMA_RS_KEEP_248 "%129"

#define ATTN__WGMMA_D_256 ATTN__WGMMA_D_248 ", %124, %125, %126, %127"
#define ATTN__WGMMA_ACC_256(d) ATTN__WGMMA_ACC_248(d), "+f"((d)[124]), "+f"((d)[125]), "+f"((d)[126]), "+f"((d)[127])
#define ATTN__WGMMA_SS_256 "%128, %129"
#define ATTN__WGMMA_SS_KEEP_256 "%130"
#define ATTN__WGMMA_RS_256 "{%128, %129, %130, %131}, %132"
#define ATTN__WGMMA_RS_KEEP_256 "%133"

#endif /* ATTN_DEVICE_WGMMA_OPERANDS_CUH */
