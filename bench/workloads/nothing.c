/* Two functions in a library of their own that are one return each: what the loop, the calls and the PLT cost.
 * In assembly, since a compiler gives a function that returns a pointer an instruction to make one. */
__asm__(".text\n"
        ".globl nothing_take\n"
        ".type nothing_take, %function\n"
        "nothing_take: ret\n"
        ".size nothing_take, 1\n"
        ".globl nothing_give\n"
        ".type nothing_give, %function\n"
        "nothing_give: ret\n"
        ".size nothing_give, 1\n"
        ".section .note.GNU-stack,\"\",%progbits\n"
        ".text\n");
