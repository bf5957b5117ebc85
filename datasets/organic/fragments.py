"""Pieces of molecules: ring systems, linkers and groups.

Any atom of a piece that has a hydrogen can be joined to another piece, so 'F' is a fluorine to be
put somewhere, and 'C(=O)N' an amide in any of its orientations.
"""

RINGS = """
c1ccccc1 c1ccncc1 c1cncnc1 c1cnccn1 c1ccnnc1 c1ncncn1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1cn[nH]c1
c1c[nH]cn1 c1cocn1 c1cscn1 c1conc1 c1csnc1 c1nnc[nH]1 c1c[nH]nn1 c1nnco1 c1nncs1 c1nnn[nH]1
c1ccc2ccccc2c1 c1ccc2ncccc2c1 c1ccc2cnccc2c1 c1ccc2ncncc2c1 c1ccc2nccnc2c1 c1ccc2[nH]ccc2c1
c1ccc2[nH]cnc2c1 c1ccc2[nH]ncc2c1 c1ccc2occc2c1 c1ccc2sccc2c1 c1ccc2ocnc2c1 c1ccc2scnc2c1
c1ccc2c(c1)OCO2 c1ccc2c(c1)OCCO2 c1ncc2[nH]cnc2n1 c1cnc2[nH]ccc2c1 c1cn2ccccc2n1 c1cnn2ccccc12
c1ccc2c(c1)[nH]c1ccccc12 c1ccc2c(c1)Cc1ccccc1-2 c1ccc2cc3ccccc3cc2c1 c1ccc2c(c1)oc1ccccc12
c1ccc2c(c1)Sc1ccccc1N2 c1ccc(cc1)-c1ccccc1 c1ccc2c(c1)ccc1ccccc12 c1ccc2c(c1)CCC2 C1CC1 C1CCC1
C1CCCC1 C1CCCCC1 C1CCCCCC1 C1CCCCCCC1 C1CCNC1 C1CCNCC1 C1CNCCN1 C1COCCN1 C1CSCCN1 C1CCOC1 C1CCOCC1
C1COCCO1 C1CCSC1 C1CCSCC1 C1CNC1 C1COC1 C1CO1 C1CN1 C1CSC1 C1CCNCCC1 C1CNCCNC1 C1=CCCCC1 C1=CCCC1
C1=CCNCC1 O=C1CCCN1 O=C1CCCCN1 O=C1CCCO1 O=C1CCCCC1 O=C1CCCC1 O=C1CCC(=O)N1 O=C1CNC(=O)N1
O=C1CSC(=O)N1 O=C1NCCN1 O=C1OCCN1 O=c1cc[nH]c(=O)[nH]1 O=c1cccc[nH]1 O=c1ccocc1 O=C1C=CC(=O)C=C1
O=C1CCNCC1 C1CC2CCC1C2 C1CC2CCC1CC2 C1CC2CCC1N2 C1CN2CCC1CC2 C1C2CC3CC1CC(C2)C3 C1CCC2CCCCC2C1
C1CCC2(CC1)CCCC2 C1CCC2(CC1)OCCO2 C1CC12CCNCC2 C1CC2CC2C1 C1CC2CNC2C1 C1CCC2NCCCC2C1
C1CCC2C(C1)CCC1CCCC21 C1CCC2C(C1)CCC1C2CCC2CCCC12 C1CCc2ccccc2C1 C1CNc2ccccc2C1 C1Cc2ccccc2CN1
C1COc2ccccc2O1 C1CNc2ccccc2N1 O=C1NC(=O)c2ccccc12 O=C1OCc2ccccc12 O=c1ccoc2ccccc12
O=c1ccc2ccccc2o1 O=c1[nH]cnc2ccccc12 O=C1CN=Cc2ccccc2N1 O=C1c2ccccc2C(=O)c2ccccc12 O=S1(=O)CCCC1
O=S1(=O)NCCC1 B1OCCO1 CC1(C)OBOC1(C)C B1OCCCO1 B1OC(C)CO1 B1NCCN1 B1Oc2ccccc2O1 B1CCCC1
C1CC[SiH2]CC1 C[Si]1(C)CCCCC1 C1C[SiH2]CCO1 C1CCPC1 C1CCPCC1 O=P1CCCC1 O=P1OCCO1 O=[PH]1OCCCO1
O=P1NCCCO1 C1CSSC1 C1CSCS1 C1CCSSC1 C1COCCOCCOCCO1 C1CCCCCCCCC1 C1CC=CCC1 C1=CC=CC1 C1COC=CO1
C1CC2OC2C1 C1CC2CC(C1)O2
""".split()  # noqa: SIM905

LINKERS = """
C CC CCC CCCC CCCCCC C=C C#C C=CC=C C(=O) C(=O)C C(=O)N C(=O)NC C(=O)O CC(=O)O NC(=O)N NC(=O)O O N
S CO CN CS COC CNC CSC CN(C)C NCCN OCCO CCOCC CCNCC CS(C)=O [SH](=O)(=O)C [SH](=O)(=O)N C=N C=NN
NN=C CC(C)C CC(C)(C)C C(C)O C(C)N CC(N)C(=O)O CC(N)C(=O)N CC(O)C NCC(=O)N CSSC C(=S)N NC(=S)N
C=C(C)C C=CC(=O) C#CC CC(=O)NC NC(=N)N ONC=O C=NO N=NC [SiH4] C[SiH2]C C[SiH](C)O [SiH3]O[SiH3] P
CPC O=[PH](O)O O=[PH](C)C OP(=O)(O)O B(O)O CB(C)C BN(C)C C(F)F C(F)(F)C(F)(F) OCO CC=CC N(C)C(=O)
""".split()  # noqa: SIM905

GROUPS = """
C C CC CCC C(C)C CC(C)C CC(C)(C)C C=C C#C F F F Cl Cl Cl Br Br I I O O N N S CO CO OCC CN CNC NC=O
C#N C=O C(=O)C C(=O)O C(=O)OC C(=O)N C(=O)N(C)C N(C)C C(F)(F)F C(F)(F)F OC(F)(F)F OC(F)F
[NH+](=O)[O-] [SH](=O)(=O)C [SH](=O)(=O)N S(C)=O SC [SH](=O)(=O)C(F)(F)F N=C=O N=C=S C#CC
N=[N+]=[N-] CCl CBr CI C(Cl)(Cl)Cl C(Cl)Cl CC#N CCO CCN CCS CS OCCOC OCC=C B(O)O B(O)O CB(O)O
B(C)C [SiH4] [SiH2](C)C [SiH2](C)C C[SiH](C)O [SiH](C)(C)C [SiH2](OC)OC [SiH](F)(F)C [SiH2](C)Cl P
PC CP(C)C O=[PH](OC)OC O=[PH](C)C O=[PH](O)O OP(=O)(O)O OP(=O)(OC)OC S=[PH](OC)OC
[SH](F)(F)(F)(F)F C(=N)N NC(=N)N C=NO ON=C C(=O)NO NN=C C(=O)NN C(=O)S C(=S)N N(C)C=O NS(C)(=O)=O
OS(C)(=O)=O C(=O)Cl C(=O)F C(C)=CC C(C)(C)O
""".split()  # noqa: SIM905

SMALL = """
C N O F P S Cl Br I [SiH4] B CC C=C C#C C#N CO CN C=O NN OO NO CF CCl CBr CI CS CP C[SiH3] CB OF
OCl SF N=N N=O O=S=O O=C=O S=C=S O=C=S FF ClCl BrBr II ICl BrCl BrF FCl [C-]#[O+] N#N O=O S=O SCl
PF PP SS [SiH3]F [SiH3]Cl BF BO [SiH3]O PO C=S N#CF N#CCl N#CBr N#CI N#CC#N [N-]=[N+]=O
C=[N+]=[N-] FOF ClOCl FNF FSF ClSCl FPF FC=O OC=O O=CC=O CCC CC=C CC#C C=C=C CC=O CCO CCN CCF CCCl
CCBr CCI CCS COC CNC CSC CPC C[SiH2]C CBC C1CC1 C1CO1 C1CN1 C1CS1 NC=O NC#N OC#N N=C=O N=C=S CC#N
C[N+]#[C-] CN=C FCF FCCl ClCCl BrCBr ICI FCBr FCI FC(F)F ClC(Cl)Cl BrC(Br)Br FC(F)(F)F
ClC(Cl)(Cl)Cl FB(F)F ClB(Cl)Cl BrB(Br)Br OB(O)O F[SiH](F)F F[Si](F)(F)F Cl[Si](Cl)(Cl)Cl
Cl[SiH](Cl)Cl FP(F)F ClP(Cl)Cl BrP(Br)Br OS(=O)(=O)O O=S(=O)=O FS(F)(=O)=O OP(=O)(O)O
O=P(Cl)(Cl)Cl FP(F)(F)(F)F FS(F)(F)(F)(F)F NS(N)(=O)=O CS(C)=O CS(C)(=O)=O C[Si](C)(C)C C[SiH](C)C
CB(C)C CP(C)C [SiH3][SiH3] [SiH3]O[SiH3] [SiH3]N [SiH3]P BN BC CC(C)C CCCC C1CCC1 C=CC=C C#CC#C
CC(C)=O CC(=O)O CC(N)=O NC(N)=O NC(N)=S OC(O)=O O=C(Cl)Cl COO CON CNN CC(F)F CC(F)(F)F
CC(Cl)(Cl)Cl C=CF C=CCl C=CBr C=CI C#CF C#CCl C#CBr C#CI C=CC=O C=CC#N c1cc[nH]c1 c1ccoc1 c1ccsc1
c1c[nH]cn1 C1COC1 C1CNC1 C1CSC1 C1=CC1 CN=[N+]=[N-] C[N+](=O)[O-] CON=O
""".split()  # noqa: SIM905
"""Molecules of one to a few heavy atoms, as they are."""
